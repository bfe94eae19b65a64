//! How to reach an etcd: checked before the first try, so that a wrong setting is an error and not an outage.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use holdfast_core::error::Invalid;

/// An etcd cluster has 3 to 7 members; more names than this are a mistake.
const ENDPOINTS_MAX: usize = 32;
/// Below it a member of an etcd in the same data centre has answered or will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// etcd disconnects clients that ping more often than every 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

/// How to reach an etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdConfig {
    /// Members, such as `http://10.0.0.1:2379`; all `http` or all `https`.
    pub endpoints: Vec<String>,
    /// Needed for `https`.
    pub tls: Option<EtcdTls>,
    /// Where etcd asks who it is.
    pub user: Option<EtcdUser>,
    /// A member that does not answer within it is left for the next one. Less than
    /// [`crate::registry::RegistryTiming::call_timeout`].
    pub request_timeout: Duration,
}

/// Certificates, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdTls {
    /// Whom to trust.
    pub ca: Vec<u8>,
    /// This client's certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A user of etcd's.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdUser {
    /// Its name.
    pub name: String,
    /// Its password. Never shown.
    pub password: String,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdTls {{ identity: {} }}", self.identity.is_some())
    }
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdUser {{ name: {:?} }}", self.name)
    }
}

impl EtcdConfig {
    /// From what `--etcd` takes: endpoints, separated by commas.
    pub fn new(endpoints: &str) -> Self {
        Self {
            endpoints: endpoints.split(',').map(|one| one.trim().trim_end_matches('/').to_string()).collect(),
            tls: None,
            user: None,
            request_timeout: Duration::from_millis(1500),
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(Invalid::owned(format!("give 1 to {ENDPOINTS_MAX} etcd endpoints")));
        }
        let secure = self.endpoints.iter().filter(|one| one.starts_with("https://")).count();
        for endpoint in &self.endpoints {
            let uri = endpoint.parse::<http::Uri>().ok();
            let host = uri.as_ref().and_then(http::Uri::host);
            let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
            if !matches!(scheme, Some("http" | "https")) || host.is_none_or(str::is_empty) {
                return Err(Invalid::owned(format!(
                    "{endpoint:?} is not an etcd endpoint: write it like http://10.0.0.1:2379"
                )));
            }
        }
        if secure != 0 && secure != self.endpoints.len() {
            return Err(Invalid::new("the etcd endpoints must be all http or all https"));
        }
        match (&self.tls, secure) {
            (None, 1..) => Err(Invalid::new("https to etcd needs the CA that signed its certificate")),
            (Some(_), 0) => Err(Invalid::new("there are certificates for etcd, but its endpoints are http")),
            _ => Ok(()),
        }
    }

    pub(super) fn options(&self) -> ConnectOptions {
        // A member that lost its leader ends its watches then, instead of going on in silence.
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1);
        if let Some(user) = &self.user {
            // A token that ran out is refused before anything happens: asking again with a new one repeats nothing.
            options = options.with_user(&user.name, &user.password).with_auto_token_refresh(true);
        }
        if let Some(tls) = &self.tls {
            let mut certificates = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some((certificate, key)) = &tls.identity {
                certificates = certificates.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(certificates);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked() {
        for good in ["http://127.0.0.1:2379", "http://a:1, http://b:2/"] {
            assert!(EtcdConfig::new(good).check().is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:2379", "http://", "ftp://a", "http://a,https://b", "https://a"] {
            assert!(EtcdConfig::new(bad).check().is_err(), "{bad}");
        }
        let tls = Some(EtcdTls { ca: Vec::new(), identity: None });
        assert!(EtcdConfig { tls, ..EtcdConfig::new("http://a") }.check().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let user = EtcdUser { name: "root".into(), password: "hunter2".into() };
        let tls = EtcdTls { ca: b"ca".to_vec(), identity: Some((b"cert".to_vec(), b"secret".to_vec())) };
        let shown = format!("{user:?} {tls:?}");
        assert_eq!(shown, "EtcdUser { name: \"root\" } EtcdTls { identity: true }");
    }
}
