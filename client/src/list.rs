//! Listing a bucket, page by page or as a stream.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use holdfast_core::client::{Answer, Kind};
use holdfast_core::ids::BucketName;
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, drive};
use crate::error::Error;
use crate::object::ObjectInfo;
use crate::wire;

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListOptions {
    /// Keys must start with it.
    pub prefix: String,
    /// Keys that contain it after the prefix are rolled up into one common prefix; empty: no rolling up.
    pub delimiter: String,
    /// Objects and prefixes of one page, at most; 0: the node's usual (1000).
    pub page_size: u32,
    /// Where to go on: [`Page::next_page_token`] of an earlier listing of the same bucket, prefix and delimiter.
    pub page_token: String,
    /// How long each page may take; `None`: the client's usual.
    pub timeout: Option<Duration>,
}

/// A part of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// In the byte order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Common prefixes, in byte order.
    pub prefixes: Vec<String>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// One line of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// An object.
    Object(ObjectInfo),
    /// Keys rolled up.
    Prefix(String),
}

impl Entry {
    /// The key, or the common prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(info) => &info.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// A listing under way.
#[derive(Clone)]
pub struct Lister {
    client: Client,
    bucket: BucketName,
    options: ListOptions,
    ended: bool,
}

impl Client {
    /// Lists a bucket's objects in the byte order of their keys. What was there before a page was asked for, and
    /// stayed, is listed exactly once.
    ///
    /// ```no_run
    /// # async fn example(client: holdfast::Client) -> Result<(), holdfast::Error> {
    /// use futures_util::TryStreamExt as _;
    /// use holdfast::ListOptions;
    ///
    /// let options = ListOptions { prefix: "2026/".into(), ..ListOptions::default() };
    /// let mut entries = std::pin::pin!(client.list("photos", options)?.entries());
    /// while let Some(entry) = entries.try_next().await? {
    ///     println!("{}", entry.name());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn list(&self, bucket: &str, options: ListOptions) -> Result<Lister, Error> {
        let bucket = BucketName::new(bucket)?;
        Ok(Lister { client: self.clone(), bucket, options, ended: false })
    }
}

impl Lister {
    /// The next page; `None` after the last. After an error the same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<Page>, Error> {
        if self.ended {
            return Ok(None);
        }
        let call = Call {
            kind: Kind::Read,
            partition: None,
            body_bytes: 0,
            timeout: self.client.timeout_or(self.options.timeout),
            op_id: None,
            doubtful: false,
            pinned: false,
        };
        let message = v1::ListRequest {
            bucket: self.bucket.as_str().to_owned(),
            prefix: self.options.prefix.clone(),
            delimiter: self.options.delimiter.clone(),
            page_token: self.options.page_token.clone(),
            page_size: self.options.page_size,
        };
        let page = drive(&self.client, call, |attempt| send(attempt, message.clone())).await.result?;
        self.ended = page.next_page_token.is_empty();
        self.options.page_token.clone_from(&page.next_page_token);
        Ok(Some(page))
    }

    /// All entries, in byte order, pages fetched as they are needed. Ends after the first error.
    pub fn entries(self) -> impl Stream<Item = Result<Entry, Error>> + Send {
        let pages = stream::try_unfold(self, |mut lister| async move {
            Ok::<_, Error>(lister.next_page().await?.map(|page| (page, lister)))
        });
        pages.flat_map(|page| {
            stream::iter(match page {
                Ok(page) => page.into_entries().into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
    }
}

impl Page {
    /// Objects and prefixes together, in byte order.
    pub fn into_entries(self) -> Vec<Entry> {
        let objects = self.objects.into_iter().map(Entry::Object);
        let mut entries: Vec<_> = objects.chain(self.prefixes.into_iter().map(Entry::Prefix)).collect();
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        entries
    }
}

async fn send(mut attempt: Attempt, message: v1::ListRequest) -> Attempted<Page> {
    let answer = match attempt.node.objects.list(wire::request(message, attempt.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wire::failed(&status),
    };
    let objects = answer.objects.into_iter().map(|info| ObjectInfo::from_wire(Some(info)));
    match objects.collect() {
        Ok(objects) => {
            let page = Page { objects, prefixes: answer.prefixes, next_page_token: answer.next_page_token };
            wire::answered(Answer::Ok, page)
        }
        Err(invalid) => wire::senseless(Answer::Damaged, &invalid.to_string()),
    }
}
