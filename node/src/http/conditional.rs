//! `If-Match` and `If-None-Match`.

use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::term::Version;
use http::HeaderMap;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};

/// What a conditional header holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tags {
    /// `*`.
    Any,
    /// Entity tags without their quotes, and whether each is weak.
    List(Vec<(String, bool)>),
}

impl Tags {
    /// From all lines of `name`; `None` when there is none. Errors when it is no list of entity tags.
    pub(super) fn parse(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Error> {
        let mut list = Vec::new();
        let mut lines = headers.get_all(name).iter().peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        for line in lines {
            let line = line.to_str().map_err(|_| malformed(name))?.trim();
            if line == "*" {
                return Ok(Some(Self::Any));
            }
            parse_list(line, &mut list).ok_or_else(|| malformed(name))?;
        }
        Ok(Some(Self::List(list)))
    }

    /// Whether `version` is among them. `weak`: `W/"…"` counts too (If-None-Match), else not (If-Match).
    pub(super) fn matches(&self, version: &str, weak: bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|(tag, is_weak)| tag == version && (weak || !is_weak)),
        }
    }
}

fn malformed(name: &HeaderName) -> Error {
    Error::owned(Code::Invalid, format!("{name} is neither * nor a list of quoted entity tags"))
}

/// `"a", W/"b"`: appended to `list`. `None` when malformed. One tag without quotes is let pass: people type them.
fn parse_list(mut line: &str, list: &mut Vec<(String, bool)>) -> Option<()> {
    if !line.contains('"') && !line.contains(',') && !line.is_empty() {
        list.push((line.to_owned(), false));
        return Some(());
    }
    loop {
        line = line.trim_start_matches([' ', '\t', ',']);
        if line.is_empty() {
            return Some(());
        }
        let (rest, weak) = match line.strip_prefix("W/") {
            Some(rest) => (rest, true),
            None => (line, false),
        };
        let (tag, rest) = rest.strip_prefix('"')?.split_once('"')?;
        list.push((tag.to_owned(), weak));
        line = rest.trim_start();
        if !line.is_empty() && !line.starts_with(',') {
            return None;
        }
    }
}

/// A mutation's condition from its headers.
pub(super) fn mutation_condition(headers: &HeaderMap) -> Result<Condition, Error> {
    let if_match = Tags::parse(headers, &IF_MATCH)?;
    let if_none_match = Tags::parse(headers, &IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (None, Some(Tags::Any)) => Ok(Condition::IfAbsent),
        (None, Some(Tags::List(_))) => {
            Err(Invalid::new("If-None-Match on a change can only be *: create if absent").into())
        }
        (Some(Tags::Any), None) => Ok(Condition::IfPresent),
        (Some(Tags::List(list)), None) => match list.as_slice() {
            [(tag, false)] => {
                let version: Version = tag.parse().map_err(|_| {
                    Error::new(
                        Code::Invalid,
                        "If-Match holds no version of Holdfast's: pass an ETag exactly as it was given",
                    )
                })?;
                Ok(Condition::IfVersion(version))
            }
            _ => Err(Invalid::new("If-Match on a change must be * or exactly one strong ETag").into()),
        },
        (Some(_), Some(_)) => {
            Err(Invalid::new("a change can have If-Match or If-None-Match, not both").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn lists_of_tags() {
        let tags = Tags::parse(&headers(IF_NONE_MATCH, r#"W/"a,b" , "c""#), &IF_NONE_MATCH).unwrap().unwrap();
        assert!(tags.matches("a,b", true) && !tags.matches("a,b", false) && tags.matches("c", false));
        assert!(!tags.matches("a", true));
        assert_eq!(Tags::parse(&headers(IF_MATCH, "*"), &IF_MATCH), Ok(Some(Tags::Any)));
        assert_eq!(Tags::parse(&HeaderMap::new(), &IF_MATCH), Ok(None));
        for bad in ["\"a", "\"a\" b", "a, b", "W/a,"] {
            assert!(Tags::parse(&headers(IF_MATCH, bad), &IF_MATCH).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions_of_changes() {
        let of = |name, value| mutation_condition(&headers(name, value)).map_err(|error| error.code);
        assert_eq!(of(IF_NONE_MATCH, "*"), Ok(Condition::IfAbsent));
        assert_eq!(of(IF_MATCH, "*"), Ok(Condition::IfPresent));
        assert!(matches!(of(IF_MATCH, "\"1-1-1-a\""), Ok(Condition::IfVersion(_))));
        assert_eq!(of(IF_MATCH, "\"x\""), Err(Code::Invalid));
        assert_eq!(of(IF_MATCH, "W/\"1-1-1-a\""), Err(Code::Invalid));
        assert_eq!(of(IF_NONE_MATCH, "\"1-1-1-a\""), Err(Code::Invalid));
    }
}
