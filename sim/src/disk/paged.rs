//! A file's bytes in pages that copies share: a disk is copied for each crash state that is looked at, and hardly any
//! of it differs.

use std::sync::{Arc, LazyLock};

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

static ZEROS: Page = [0; PAGE_BYTES];

/// Whether all bytes are zeros; at most a page of them at a time, which is compared as a whole.
pub(super) fn is_zeros(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE_BYTES).all(|part| *part == ZEROS[..part.len()])
}

/// As long as the zeros that a node's log writes ahead of its frames.
static LONG_ZEROS: LazyLock<Arc<[u8]>> = LazyLock::new(|| vec![0; 256 << 10].into());

/// The bytes, to be kept. The zeros that a log writes ahead are kept once: there are many of them.
pub(super) fn shared(bytes: &[u8]) -> Arc<[u8]> {
    if bytes.len() == LONG_ZEROS.len() && is_zeros(bytes) { Arc::clone(&LONG_ZEROS) } else { bytes.into() }
}

/// Bytes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Paged {
    len: usize,
    /// `None`: zeros.
    pages: Vec<Option<Arc<Page>>>,
}

impl Paged {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts, or grows with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE_BYTES), None);
        let cut = len % PAGE_BYTES;
        // What is cut must not come back when the file grows again.
        if len < self.len
            && cut > 0
            && let Some(Some(page)) = self.pages.last_mut()
        {
            Arc::make_mut(page)[cut..].fill(0);
        }
        self.len = len;
    }

    /// Fills `out` from `offset`. `None`: the file ends before. Nothing can be read everywhere, as on a real disk.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) -> Option<()> {
        if !out.is_empty() && offset.checked_add(out.len())? > self.len {
            return None;
        }
        let mut done = 0;
        while done < out.len() {
            let (page, from, count) = piece(offset + done, out.len() - done);
            let out = &mut out[done..done + count];
            match &self.pages[page] {
                Some(bytes) => out.copy_from_slice(&bytes[from..from + count]),
                None => out.fill(0),
            }
            done += count;
        }
        Some(())
    }

    /// Writes, growing the file where needed.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if self.len < offset + data.len() {
            self.resize(offset + data.len());
        }
        let mut done = 0;
        while done < data.len() {
            let (page, from, count) = piece(offset + done, data.len() - done);
            let data = &data[done..done + count];
            let page = &mut self.pages[page];
            match (page, <&Page>::try_from(data)) {
                // A whole page: nothing of the one before is copied.
                (page, Ok(data)) => *page = (!is_zeros(data)).then(|| Arc::new(*data)),
                (Some(page), _) => Arc::make_mut(page)[from..from + count].copy_from_slice(data),
                (page, _) if !is_zeros(data) => {
                    let mut new = ZEROS;
                    new[from..from + count].copy_from_slice(data);
                    *page = Some(Arc::new(new));
                }
                _ => {}
            }
            done += count;
        }
    }

    /// Whether these bytes stand there.
    pub(super) fn holds(&self, offset: usize, data: &[u8]) -> bool {
        let mut there = vec![0; data.len()];
        self.read(offset, &mut there).is_some() && there == data
    }

    /// Feeds the bytes to a hash. Pages of zeros count as pages of zeros, however they are kept.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.len as u64).to_le_bytes());
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page.as_ref().filter(|page| !is_zeros(&page[..])) {
                hasher.update(&(number as u64).to_le_bytes());
                hasher.update(&page[..]);
            }
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.read(0, &mut bytes).expect("the whole file is within the file");
        bytes
    }
}

/// The page at `offset`, the place in it, and how many of `left` bytes it holds from there.
fn piece(offset: usize, left: usize) -> (usize, usize, usize) {
    let from = offset % PAGE_BYTES;
    (offset / PAGE_BYTES, from, left.min(PAGE_BYTES - from))
}
