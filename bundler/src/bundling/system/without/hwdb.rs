//! Keeps of udev's hardware database only what names network interfaces.
//!
//! `parts` asks for it. The rest are vendors' names for people, keyboards, mice and sensors.
//!
//! The compiled database is a tree of letters (systemd's `hwdb-internal.h`). All numbers are little
//! endian. A header of ten 64-bit fields says how long the records are and where the root node is.
//! A node has a prefix, children (a letter and an offset each) and values: two texts, and the
//! file that they come from. Texts end with a NUL, and offsets count from the beginning.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::bundling::tree::Tree;

const COMPILED: &str = "usr/lib/udev/hwdb.bin";
const SOURCES: &str = "usr/lib/udev/hwdb.d";
/// The files that stay: names of network interfaces, on real and on virtual machines.
const NETWORK: [&str; 2] = ["20-net-ifname.hwdb", "20-vmbus-class.hwdb"];

const SIGNATURE: &[u8; 8] = b"KSLPHHRH";
const HEADER: usize = 80;
const NODE: usize = 24;
const CHILD: usize = 16;
/// A value with the file that it comes from.
const VALUE: usize = 32;
/// Most nodes below each other. A key is no longer, and a damaged file could lead back to itself.
const DEPTH: usize = 1024;

/// Keeps the files of [`NETWORK`], and their part of the compiled database.
///
/// # Errors
/// The compiled database is damaged or of another form.
pub(super) fn keep_network(tree: &mut Tree) -> Result<()> {
    tree.remove_below(SOURCES, |path| !NETWORK.iter().any(|name| path.ends_with(name)));
    if tree.get(COMPILED).is_some() {
        let bytes = tree.read(COMPILED)?;
        let kept = filtered(&bytes).with_context(|| format!("reading /{COMPILED}"))?;
        let mode = tree.get(COMPILED).map_or(0o444, |inode| inode.mode);
        tree.put(COMPILED, mode, kept);
    }
    Ok(())
}

struct Node {
    prefix: Vec<u8>,
    children: Vec<(u8, Node)>,
    values: Vec<Value>,
}

struct Value {
    key: Vec<u8>,
    value: Vec<u8>,
    file: Vec<u8>,
    /// Line, priority of the file, padding.
    rest: [u8; 8],
}

fn filtered(bytes: &[u8]) -> Result<Vec<u8>> {
    ensure!(bytes.starts_with(SIGNATURE), "it is no hardware database");
    let field = |index: usize| number(bytes, 8 * index);
    let sizes = [field(3)?, field(4)?, field(5)?, field(6)?];
    ensure!(sizes == [HEADER, NODE, CHILD, VALUE], "it is of another version");
    let root = Node::read(bytes, field(7)?, 0)?.unwrap_or(Node {
        prefix: Vec::new(),
        children: Vec::new(),
        values: Vec::new(),
    });
    let mut out = Out { nodes: vec![0; HEADER], texts: Texts::default() };
    // The place of the texts depends on the length of the nodes, which does not depend on it.
    root.write(&mut out, 0)?;
    let texts_at = out.nodes.len();
    out = Out { nodes: vec![0; HEADER], texts: Texts::default() };
    let root = root.write(&mut out, texts_at)?;
    let Out { mut nodes, texts } = out;
    let nodes_len = nodes.len() - HEADER;
    let total = nodes.len() + texts.bytes.len();
    nodes[..8].copy_from_slice(SIGNATURE);
    nodes[8..16].copy_from_slice(&bytes[8..16]); // the version of the tool
    let fields = [total, HEADER, NODE, CHILD, VALUE, root, nodes_len, texts.bytes.len()];
    for (index, field) in fields.into_iter().enumerate() {
        nodes[16 + 8 * index..24 + 8 * index].copy_from_slice(&(field as u64).to_le_bytes());
    }
    nodes.extend(texts.bytes);
    Ok(nodes)
}

impl Node {
    /// Reads a node. `None`: nothing of it stays.
    fn read(bytes: &[u8], at: usize, depth: usize) -> Result<Option<Self>> {
        ensure!(depth < DEPTH, "its nodes lead back to themselves");
        let prefix = text(bytes, number(bytes, at)?)?;
        let children_count = usize::from(*bytes.get(at + 8).context("it is cut short")?);
        let values_count = number(bytes, at + 16)?;
        let mut children = Vec::new();
        let first_child = at + NODE;
        for child in (0..children_count).map(|index| first_child + index * CHILD) {
            let letter = *bytes.get(child).context("it is cut short")?;
            if let Some(node) = Self::read(bytes, number(bytes, child + 8)?, depth + 1)? {
                children.push((letter, node));
            }
        }
        let mut values = Vec::new();
        let first_value = first_child + children_count * CHILD;
        ensure!(values_count <= bytes.len() / VALUE, "it is cut short");
        for value in (0..values_count).map(|index| first_value + index * VALUE) {
            let file = text(bytes, number(bytes, value + 16)?)?;
            if NETWORK.iter().any(|name| file.ends_with(name.as_bytes())) {
                let rest = bytes.get(value + 24..value + 32).context("it is cut short")?;
                values.push(Value {
                    key: text(bytes, number(bytes, value)?)?,
                    value: text(bytes, number(bytes, value + 8)?)?,
                    file,
                    rest: rest.try_into()?,
                });
            }
        }
        let is_empty = children.is_empty() && values.is_empty();
        Ok((!is_empty).then_some(Self { prefix, children, values }))
    }

    /// Writes the node behind its children. Returns its place.
    fn write(&self, out: &mut Out, texts_at: usize) -> Result<usize> {
        let mut children = Vec::new();
        for (letter, node) in &self.children {
            children.push((*letter, node.write(out, texts_at)?));
        }
        let place = out.nodes.len();
        let prefix = texts_at + out.texts.add(&self.prefix);
        out.put(prefix);
        out.put(usize::from(u8::try_from(children.len())?));
        out.put(self.values.len());
        for (letter, child) in children {
            out.put(letter.into());
            out.put(child);
        }
        for Value { key, value, file, rest } in &self.values {
            for text in [key, value, file] {
                let at = texts_at + out.texts.add(text);
                out.put(at);
            }
            out.nodes.extend(rest);
        }
        Ok(place)
    }
}

struct Out {
    nodes: Vec<u8>,
    texts: Texts,
}

impl Out {
    fn put(&mut self, number: usize) {
        self.nodes.extend((number as u64).to_le_bytes());
    }
}

/// Texts, each once.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    places: BTreeMap<Vec<u8>, usize>,
}

impl Texts {
    fn add(&mut self, text: &[u8]) -> usize {
        let end = self.bytes.len();
        let place = *self.places.entry(text.to_vec()).or_insert(end);
        if place == end {
            self.bytes.extend(text);
            self.bytes.push(0);
        }
        place
    }
}

fn number(bytes: &[u8], at: usize) -> Result<usize> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("it is cut short")?;
    Ok(usize::try_from(u64::from_le_bytes(*field))?)
}

fn text(bytes: &[u8], at: usize) -> Result<Vec<u8>> {
    let rest = bytes.get(at..).context("a text lies beyond its end")?;
    let end = rest.iter().position(|byte| *byte == 0).context("a text has no end")?;
    Ok(rest[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &str, file: &str) -> Value {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Value { key: bytes(key), value: bytes("v"), file: bytes(file), rest: [1; 8] }
    }

    fn node(prefix: &str, children: Vec<(u8, Node)>, values: Vec<Value>) -> Node {
        Node { prefix: prefix.as_bytes().to_vec(), children, values }
    }

    /// Writes a database with everything in it.
    fn database(root: &Node) -> Vec<u8> {
        let mut out = Out { nodes: vec![0; HEADER], texts: Texts::default() };
        root.write(&mut out, 0).unwrap();
        let texts_at = out.nodes.len();
        out = Out { nodes: vec![0; HEADER], texts: Texts::default() };
        let root = root.write(&mut out, texts_at).unwrap();
        let mut bytes = out.nodes;
        bytes[..8].copy_from_slice(SIGNATURE);
        for (index, field) in [0, 0, HEADER, NODE, CHILD, VALUE, root].into_iter().enumerate() {
            bytes[8 + 8 * index..16 + 8 * index].copy_from_slice(&(field as u64).to_le_bytes());
        }
        bytes.extend(out.texts.bytes);
        bytes
    }

    #[test]
    fn only_the_network_stays_and_reading_it_again_gives_the_same() {
        let net = node(
            "net:",
            Vec::new(),
            vec![value("NAME", "/usr/lib/udev/hwdb.d/20-net-ifname.hwdb")],
        );
        let mouse =
            node("ouse", Vec::new(), vec![value("DPI", "/usr/lib/udev/hwdb.d/70-mouse.hwdb")]);
        let root = node("", vec![(b'm', mouse), (b'n', net)], Vec::new());
        let kept = filtered(&database(&root)).unwrap();
        assert!(!kept.windows(4).any(|bytes| bytes == b"ouse"), "{kept:?}");
        let root = Node::read(&kept, number(&kept, 56).unwrap(), 0).unwrap().unwrap();
        assert_eq!(root.children.len(), 1);
        let (letter, net) = &root.children[0];
        assert_eq!(
            (*letter, &*net.prefix, &*net.values[0].key),
            (b'n', &b"net:"[..], &b"NAME"[..])
        );
        assert_eq!(net.values[0].rest, [1; 8]);
        assert_eq!(number(&kept, 16).unwrap(), kept.len());
        assert!(filtered(&kept).unwrap() == kept);
    }

    #[test]
    fn a_damaged_database_is_an_error_and_not_a_panic() {
        let root = node(
            "",
            vec![(b'n', node("", Vec::new(), vec![value("N", "20-net-ifname.hwdb")]))],
            Vec::new(),
        );
        let whole = database(&root);
        for len in 0..whole.len() {
            filtered(&whole[..len]).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            let _ = filtered(&bytes);
        }
    }
}
