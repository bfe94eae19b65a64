//! A real client on a simulated host, whose operations are written down.

mod plain;

pub(crate) use plain::Course;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::{
    Client, ClientOptions, ClusterStatus, Code, Condition, DeleteOptions, Deleted, Error, GetOptions,
    ListOptions, OpId, Outcome, PutOptions, Version,
};
use holdfast_core::ids::ObjectName;
use parking_lot::Mutex;

use crate::ambient::{SimAmbient, WallClock};
use crate::browser::Browser;
use crate::browser::web::Web;
use crate::history::{Action, Held, History, OpNumber, Seen};
use crate::hooks;
use crate::host::HostId;
use crate::net::SimNet;
use crate::oracles::Oracles;
use crate::plan::PAGE_KEYS_FEW;
use crate::random::Random;
use crate::registry::{self, SimRegistry};
use crate::trace::Trace;

/// The metadata that names the put an object was written by, so that heads and listings tell it too.
const TEXT: &str = "text";
/// The bucket of all simulated objects.
pub const BUCKET: &str = "sim";

/// One client. Clones are the same client.
#[derive(Clone)]
pub struct SimClient {
    name: Arc<str>,
    client: Client,
    /// It is a page in a browser, which speaks grpc-web.
    browser: Option<Arc<Browser>>,
    /// For requests of its own making.
    web: Web,
    endpoints: Arc<Vec<String>>,
    net: SimNet,
    random: Random,
    history: History,
    oracles: Oracles,
    trace: Trace,
    puts: Arc<Mutex<u64>>,
}

/// What a client is made of.
#[derive(Clone)]
pub(crate) struct ClientPlace {
    pub(crate) name: String,
    pub(crate) host: HostId,
    pub(crate) net: SimNet,
    pub(crate) endpoints: Vec<String>,
    pub(crate) random: Random,
    pub(crate) clock: WallClock,
    /// How long an operation may take.
    pub(crate) timeout: Duration,
    /// Whether it is a page in a browser.
    pub(crate) is_browser: bool,
    /// Of a hundred of its requests, so many are sent twice.
    pub(crate) doubled_percent: u64,
    pub(crate) history: History,
    pub(crate) oracles: Oracles,
    pub(crate) trace: Trace,
    /// Puts of all programs that were this client, so that no two write the same.
    pub(crate) puts: Arc<Mutex<u64>>,
}

impl SimClient {
    /// On the current host's runtime.
    pub(crate) fn new(place: ClientPlace) -> Self {
        let ClientPlace {
            name,
            host: _,
            net,
            endpoints,
            random,
            clock,
            timeout,
            is_browser,
            doubled_percent,
            history,
            oracles,
            trace,
            puts,
        } = place;
        let ambient = Arc::new(SimAmbient::new(random.fork("ambient"), clock));
        let browser = is_browser.then(|| {
            let (net, endpoints) = (net.clone(), endpoints.clone());
            Arc::new(Browser::new(
                net,
                endpoints,
                ambient.clone(),
                random.fork("browser"),
                timeout,
                doubled_percent,
            ))
        });
        let web = Web::of_program(net.clone());
        let mut options = ClientOptions::with_connect(endpoints.clone(), Arc::new(net.clone()));
        options.ambient = ambient;
        options.timeout = timeout;
        let client = Client::new(options).expect("the endpoints are of simulated nodes");
        let endpoints = Arc::new(endpoints);
        let name = name.into();
        Self { name, client, browser, web, endpoints, net, random, history, oracles, trace, puts }
    }

    /// Its host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The real client, for what is not written down.
    pub fn raw(&self) -> &Client {
        &self.client
    }

    /// The network as this client's machine sees it.
    pub fn net(&self) -> Arc<dyn node::env::Net> {
        Arc::new(self.net.clone())
    }

    /// A stream of choices for a part of this client's work.
    pub fn random(&self, part: &str) -> Random {
        self.random.fork(part)
    }

    /// The same client, but it knows one node only, until that one tells it of others.
    ///
    /// A new one each time: nothing that it has learnt is kept.
    pub fn only(&self, node: &str) -> Client {
        let mut options = ClientOptions::with_connect([address(node)], Arc::new(self.net.clone()));
        options.ambient = Arc::new(SimAmbient::new(self.random.fork(node), WallClock::default()));
        Client::new(options).expect("the endpoint is of a simulated node")
    }

    /// Writes a body that no other operation writes; `filler` more bytes follow its text.
    pub async fn put(&self, key: &str, condition: Condition, filler: usize) -> Result<Version, Error> {
        let (op, text) = self.begin_put(key, condition);
        let result = self.send_put(key, &text, condition, filler, None).await;
        self.end_put(op, key, &result);
        result
    }

    /// As [`Self::put`]; when the outcome is unknown, asks for it until it is known or `patience` is over.
    pub async fn put_settled(
        &self,
        key: &str,
        condition: Condition,
        filler: usize,
        patience: Duration,
    ) -> Result<Version, Error> {
        let (op, text) = self.begin_put(key, condition);
        let result = self.send_put(key, &text, condition, filler, None).await;
        let Err(error) = &result else {
            self.end_put(op, key, &result);
            return result;
        };
        match self.settled(op, key, error, patience).await {
            Some(version) => {
                self.history.end(op, Seen::Wrote(version));
                Ok(version)
            }
            None => result,
        }
    }

    /// Asks for the outcome of a mutation that ended with an error, also where that says what became of it: then the two
    /// must agree. The version, if it took effect; otherwise its end is in the history.
    async fn settled(&self, op: OpNumber, key: &str, error: &Error, patience: Duration) -> Option<Version> {
        let unknown = matches!(error.code(), Code::OutcomeUnknown);
        if !unknown {
            self.history.end(op, self.refused(key, error));
            // Whatever is still on its way may arrive first.
            let mut random = self.random.fork(&format!("settle {op:?}"));
            tokio::time::sleep(random.log_ms(1, 300)).await;
        }
        let outcome = match error.op_id() {
            Some(op_id) => self.outcome(key, op_id, patience).await,
            None => None,
        };
        let version = outcome.flatten();
        if let (Some(version), false) = (version, unknown) {
            panic!("{} was told {error}, and that the same mutation took effect as {version:?}", self.name);
        }
        if unknown && version.is_none() {
            if let (Some(None), Some(op_id)) = (outcome, error.op_id()) {
                self.never(key, op_id);
            }
            self.history.end(op, if outcome.is_some() { Seen::Nothing } else { self.refused(key, error) });
        }
        version
    }

    /// As [`Self::put`]; when the outcome is unknown, asks again under the same op id, until it is known or `patience` is
    /// over.
    pub async fn put_again(
        &self,
        key: &str,
        condition: Condition,
        filler: usize,
        patience: Duration,
    ) -> Result<Version, Error> {
        if self.browser.is_some() {
            // It has no way to ask again under the same op id.
            return self.put_settled(key, condition, filler, patience).await;
        }
        let (op, text) = self.begin_put(key, condition);
        let mut result = self.send_put(key, &text, condition, filler, None).await;
        let end = tokio::time::Instant::now() + patience;
        while let Err(error) = &result
            && let (Code::OutcomeUnknown, Some(op_id)) = (error.code(), error.op_id())
            && tokio::time::Instant::now() < end
        {
            self.note(error);
            result = self.send_put(key, &text, condition, filler, Some(op_id)).await;
        }
        self.end_put(op, key, &result);
        result
    }

    /// As [`Self::put`]; asks for its outcome too, `wait` after it was sent. Either may be first.
    pub async fn put_asked(
        &self,
        key: &str,
        condition: Condition,
        filler: usize,
        wait: Duration,
    ) -> Option<Version> {
        if self.browser.is_some() {
            // It has no way to know its op id before.
            return self.put_settled(key, condition, filler, Duration::from_secs(5)).await.ok();
        }
        let (op, text) = self.begin_put(key, condition);
        let op_id = self.client.fresh_op_id();
        let put = self.send_put(key, &text, condition, filler, Some(op_id));
        let asked = async {
            tokio::time::sleep(wait).await;
            self.client.outcome(BUCKET, key, op_id).await
        };
        let (result, outcome) = tokio::join!(put, asked);
        let seen = match (&result, &outcome) {
            (Ok(version), Ok(Outcome::Fenced)) => {
                panic!("{} has written {text} as {version:?}, and is told that it was fenced", self.name)
            }
            (Ok(version), Ok(Outcome::Committed(told))) => {
                assert_eq!(version, told, "{} is told two versions of {text}", self.name);
                Seen::Wrote(*version)
            }
            (Ok(version), _) => Seen::Wrote(*version),
            (Err(error), Ok(Outcome::Committed(version))) => {
                let unknown = matches!(error.code(), Code::OutcomeUnknown);
                assert!(unknown, "{text} took effect, {} is told {error}", self.name);
                Seen::Wrote(*version)
            }
            (Err(error), Ok(Outcome::Fenced)) if matches!(error.code(), Code::OutcomeUnknown) => {
                Seen::Nothing
            }
            (Err(error), _) => self.refused(key, error),
        };
        let version = if let Seen::Wrote(version) = seen { Some(version) } else { None };
        self.history.end(op, seen);
        version
    }

    fn begin_put(&self, key: &str, condition: Condition) -> (OpNumber, String) {
        let number = {
            let mut puts = self.puts.lock();
            *puts += 1;
            *puts
        };
        let text = format!("{}:{number}", self.name);
        (self.history.begin(&self.name, key, Action::Put(text.clone(), condition)), text)
    }

    async fn send_put(
        &self,
        key: &str,
        text: &str,
        condition: Condition,
        filler: usize,
        op_id: Option<OpId>,
    ) -> Result<Version, Error> {
        let mut body = format!("{text}|").into_bytes();
        body.resize(body.len() + filler, b'.');
        if let Some(browser) = &self.browser {
            let metadata = vec![TEXT.to_owned(), text.to_owned()];
            return browser.put(key, body, metadata, condition).await;
        }
        let metadata = BTreeMap::from([(TEXT.to_owned(), text.to_owned())]);
        let options = PutOptions { condition, op_id, metadata, ..PutOptions::default() };
        Ok(self.client.put(BUCKET, key, body, options).await?.version)
    }

    fn end_put(&self, op: OpNumber, key: &str, result: &Result<Version, Error>) {
        let seen = match result {
            Ok(version) => Seen::Wrote(*version),
            Err(error) => self.refused(key, error),
        };
        self.history.end(op, seen);
    }

    /// `Some(None)`: it never happened and never will. `None`: nobody told.
    async fn outcome(&self, key: &str, op_id: OpId, patience: Duration) -> Option<Option<Version>> {
        let asked = async {
            loop {
                let asked = match &self.browser {
                    Some(browser) => browser.outcome(key, op_id).await,
                    None => self.client.outcome(BUCKET, key, op_id).await,
                };
                match asked {
                    Ok(Outcome::Committed(version)) => return Some(Some(version)),
                    Ok(Outcome::Fenced) => return Some(None),
                    Ok(Outcome::Unknown) => return None,
                    Err(error) => self.note(&error),
                }
            }
        };
        tokio::time::timeout(patience, asked).await.unwrap_or(None)
    }

    /// Deletes.
    pub async fn delete(&self, key: &str, condition: Condition) -> Result<bool, Error> {
        let (op, result) = self.send_delete(key, condition).await;
        if let Err(error) = &result {
            self.history.end(op, self.refused(key, error));
        }
        result
    }

    /// As [`Self::delete`]; after an error, asks for its outcome until it is known or `patience` is over.
    pub async fn delete_settled(
        &self,
        key: &str,
        condition: Condition,
        patience: Duration,
    ) -> Result<bool, Error> {
        let (op, result) = self.send_delete(key, condition).await;
        if let Err(error) = &result
            && let Some(version) = self.settled(op, key, error, patience).await
        {
            self.history.end(op, Seen::Deleted(version));
            return Ok(true);
        }
        result
    }

    /// An error's end is not in the history yet.
    async fn send_delete(&self, key: &str, condition: Condition) -> (OpNumber, Result<bool, Error>) {
        let op = self.history.begin(&self.name, key, Action::Delete(condition));
        // Under an id of its own choice, now and then: then it knows of which operation an answer speaks.
        let known = self.random.fork(&format!("delete {op:?}")).one_in(2);
        let op_id = known.then(|| self.client.fresh_op_id()).filter(|_| self.browser.is_none());
        let options = DeleteOptions { condition, op_id, ..DeleteOptions::default() };
        let result = match &self.browser {
            Some(browser) => {
                browser.delete(key, condition).await.map(|(found, version)| Deleted { found, version })
            }
            None => self.client.delete(BUCKET, key, options).await,
        };
        match &result {
            Ok(Deleted { found: true, version }) => {
                let version = version.expect("a node tells the version of the tombstone that it wrote");
                self.history.end(op, Seen::Deleted(version));
            }
            Ok(Deleted { found: false, version }) => {
                if let Some(op_id) = op_id {
                    self.never(key, op_id);
                }
                self.history.end(op, Seen::NothingToDelete(*version));
            }
            Err(_) => {}
        }
        (op, result.map(|deleted| deleted.found))
    }

    /// Reads: the version and the text in front of the body.
    pub async fn get(&self, key: &str) -> Result<Option<(Version, String)>, Error> {
        let op = self.history.begin(&self.name, key, Action::Read);
        let got = match &self.browser {
            Some(browser) => browser.get(key).await,
            None => self.fetch(&self.client, key).await,
        };
        self.end_get(op, got)
    }

    async fn fetch(&self, client: &Client, key: &str) -> Result<(Version, Bytes), Error> {
        let object = client.get(BUCKET, key, GetOptions::default()).await?;
        Ok((object.info.version, object.body))
    }

    /// Reads through a client of its own choice, such as [`Self::only`].
    pub async fn get_through(&self, client: &Client, key: &str) -> Result<Option<(Version, String)>, Error> {
        let op = self.history.begin(&self.name, key, Action::Read);
        let got = self.fetch(client, key).await;
        self.end_get(op, got)
    }

    fn end_get(
        &self,
        op: OpNumber,
        got: Result<(Version, Bytes), Error>,
    ) -> Result<Option<(Version, String)>, Error> {
        match got {
            Ok((version, body)) => {
                let text = String::from_utf8_lossy(&body);
                let text = text.split('|').next().unwrap_or_default().to_owned();
                self.history.end(op, Seen::Found(version, Some(text.clone())));
                Ok(Some((version, text)))
            }
            Err(error) if error.is_not_found() => {
                self.history.end(op, Seen::Absent(error.version()));
                Ok(None)
            }
            Err(error) => {
                self.note(&error);
                self.history.end(op, Seen::Unknown);
                Err(error)
            }
        }
    }

    /// Reads a head: the version.
    pub async fn head(&self, key: &str) -> Result<Option<Version>, Error> {
        let op = self.history.begin(&self.name, key, Action::Read);
        let head = match &self.browser {
            Some(browser) => browser.head(key).await.map(|info| of_wire(&info)),
            None => {
                let head = self.client.head(BUCKET, key).await;
                head.map(|head| (head.info.version, head.info.metadata.get(TEXT).cloned()))
            }
        };
        match head {
            Ok((version, text)) => {
                self.history.end(op, Seen::Found(version, text));
                Ok(Some(version))
            }
            Err(error) if error.is_not_found() => {
                self.history.end(op, Seen::Absent(error.version()));
                Ok(None)
            }
            Err(error) => {
                self.note(&error);
                self.history.end(op, Seen::Unknown);
                Err(error)
            }
        }
    }

    /// Lists everything with a prefix. `keys`: those under it that may exist; each counts as read by this listing.
    pub async fn list(&self, prefix: &str, keys: &[String]) -> Result<BTreeMap<String, Version>, Error> {
        let began = hooks::now();
        // Small, so that a few keys take several pages.
        let page_size = if keys.len() > PAGE_KEYS_FEW { 10 } else { 2 };
        let objects = self.listed(prefix, page_size).await.inspect_err(|error| self.note(error))?;
        let (mut found, mut texts) = (BTreeMap::new(), BTreeMap::new());
        let mut last = String::new();
        for (key, version, text) in objects {
            assert!(key > last, "a listing is not in order: {key} after {last}");
            last.clone_from(&key);
            texts.insert(key.clone(), text);
            found.insert(key, version);
        }
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            let seen = found
                .get(key)
                .map_or(Seen::Unlisted, |version| Seen::Found(*version, texts.remove(key).flatten()));
            self.history.add_read(&self.name, key, began, seen);
        }
        let stranger = found.keys().find(|key| !keys.contains(key));
        assert!(stranger.is_none(), "a listing shows {stranger:?}, which nobody wrote");
        Ok(found)
    }

    /// All pages: key, version and text of each object.
    async fn listed(
        &self,
        prefix: &str,
        page_size: u32,
    ) -> Result<Vec<(String, Version, Option<String>)>, Error> {
        let mut objects = Vec::new();
        if let Some(browser) = &self.browser {
            let mut token = String::new();
            loop {
                let (page, next) = browser.list(prefix, &token, page_size).await?;
                objects.extend(page.into_iter().map(|info| {
                    let (version, text) = of_wire(&info);
                    (info.key, version, text)
                }));
                if next.is_empty() {
                    return Ok(objects);
                }
                token = next;
            }
        }
        let options = ListOptions { prefix: prefix.to_owned(), page_size, ..ListOptions::default() };
        let mut lister = self.client.list(BUCKET, options)?;
        while let Some(page) = lister.next_page().await? {
            objects.extend(page.objects.into_iter().map(|object| {
                let text = object.metadata.get(TEXT).cloned();
                (object.key, object.version, text)
            }));
        }
        Ok(objects)
    }

    /// The fake registry, over this client's network.
    pub fn registry(&self) -> SimRegistry {
        SimRegistry::new(Arc::new(self.net.clone()), format!("registry:{}", registry::PORT))
    }

    /// How the cluster does, as `node` sees it.
    pub async fn status_of(&self, node: &str) -> Result<ClusterStatus, Error> {
        self.only(node).cluster_status().await
    }

    /// What a mutation's refusal means for the history.
    fn refused(&self, key: &str, error: &Error) -> Seen {
        let seen = self.meaning(error);
        if let (true, Some(op_id)) = (seen != Seen::Unknown, error.op_id()) {
            self.never(key, op_id);
        }
        seen
    }

    /// It was told that the operation had no effect, and never will.
    fn never(&self, key: &str, op_id: OpId) {
        let name = ObjectName::new(BUCKET, key).expect("a key of the plan");
        self.oracles.never(&self.name, &name, op_id);
    }

    fn meaning(&self, error: &Error) -> Seen {
        match error.code() {
            Code::ConditionFailed(Some(version)) => Seen::ConditionFailed(Held::Object(*version)),
            Code::ConditionFailed(None) => Seen::ConditionFailed(Held::Absent(error.version())),
            Code::OutcomeUnknown => {
                self.note(error);
                Seen::Unknown
            }
            Code::NotFound => {
                panic!("{} is told of a mutation that there is no such object: {error}", self.name)
            }
            _ => {
                self.note(error);
                Seen::Nothing
            }
        }
    }

    fn note(&self, error: &Error) {
        self.trace.line(format_args!("client: {} is told {}: {error}", self.name, error.code().name()));
    }
}

/// Of a node, for clients.
fn address(node: &str) -> String {
    format!("http://{node}:{}", crate::cluster_node::CLIENT_PORT)
}

/// Version and text of an object, as a browser reads them.
fn of_wire(info: &holdfast_proto::v1::ObjectInfo) -> (Version, Option<String>) {
    let version = info.version.parse().expect("the browser's core has read it");
    (version, info.metadata.get(TEXT).cloned())
}
