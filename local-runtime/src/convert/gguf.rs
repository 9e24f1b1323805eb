//! A reader of GGUF files that trusts nothing in them.
//!
//! Layout: the GGUF specification, version 2 and 3 (ggml, `docs/gguf.md`): magic, version, counts, typed key-value
//! pairs, tensor descriptions, padding, data. Every length is checked against the bytes that the
//! file still has before anything is allocated, so reading a hostile file costs at most memory in proportion to its own size.
//! Tensor data is not held: rows are read when asked for, by position. The file is not
//! memory-mapped, because that would need `unsafe`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::blocks::BlockType;
use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"GGUF";
const STRING_BYTES_MAX: u64 = 16 << 20;
const ENTRIES_MAX: u64 = 1 << 16;
const DIMENSIONS_MAX: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value; integers and floats are widened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Elements in a row, the innermost dimension.
    pub(crate) columns: usize,
    /// Product of the other dimensions.
    pub(crate) rows: usize,
    pub(crate) kind: BlockType,
    offset: u64,
}

/// An open file, its metadata, and where its tensors are.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        let mut cursor = Cursor { reader: BufReader::with_capacity(1 << 18, file), position: 0, length };
        let parsed = parse(&mut cursor).map_err(|fault| match fault {
            Fault::Malformed(reason) => Error::Gguf { path: path.to_path_buf(), reason },
            Fault::Unsupported(reason) => Error::Unsupported { path: path.to_path_buf(), reason },
        })?;
        let (metadata, tensors) = parsed;
        Ok(Self { path: path.to_path_buf(), file: cursor.reader.into_inner(), metadata, tensors })
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(value)) => Some(*value),
            Some(Value::Integer(value)) => Some(*value as f64),
            _ => None,
        }
    }

    pub(crate) fn unsigned(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key) {
            Some(Value::Integer(value)) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    /// The stored bytes of `count` rows from `first`, into `buffer`.
    pub(crate) fn read_rows(
        &self,
        tensor: &TensorInfo,
        first: usize,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        assert!(first + count <= tensor.rows, "rows are within the tensor");
        let row_bytes = tensor.kind.bytes(tensor.columns);
        buffer.resize(row_bytes * count, 0);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(tensor.offset + (first * row_bytes) as u64))
            .map_err(Error::io("read", &self.path))?;
        file.read_exact(buffer).map_err(Error::io("read", &self.path))
    }

    /// For what the file says that cannot be so.
    pub(crate) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Gguf { path: self.path.clone(), reason: reason.into() }
    }

    /// For what the file may well say but this crate cannot do.
    pub(crate) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::Unsupported { path: self.path.clone(), reason: reason.into() }
    }
}

enum Fault {
    Malformed(String),
    Unsupported(String),
}

type Parsed<T> = Result<T, Fault>;

fn malformed<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(Fault::Malformed(reason.into()))
}

/// Reads forward and never past the end.
struct Cursor {
    reader: BufReader<File>,
    position: u64,
    length: u64,
}

impl Cursor {
    fn remaining(&self) -> u64 {
        self.length - self.position
    }

    fn bytes(&mut self, count: u64) -> Parsed<Vec<u8>> {
        if count > self.remaining() {
            return malformed(format!("it ends at byte {} where {count} more were announced", self.length));
        }
        let mut bytes =
            vec![0; usize::try_from(count).map_err(|_| Fault::Malformed("a length overflows".to_owned()))?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Parsed<()> {
        if bytes.len() as u64 > self.remaining() {
            return malformed(format!("it ends early, at byte {}", self.length));
        }
        self.reader
            .read_exact(bytes)
            .map_err(|error| Fault::Malformed(format!("it cannot be read: {error}")))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Parsed<String> {
        let length = self.u64()?;
        if length > STRING_BYTES_MAX {
            return malformed(format!("a text of {length} bytes"));
        }
        String::from_utf8(self.bytes(length)?).or_else(|_| malformed("a text is not UTF-8"))
    }
}

/// The scalar types of the format and their sizes.
fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn read_scalar(cursor: &mut Cursor, kind: u32) -> Parsed<Value> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(cursor.array()?).into()),
        1 => Value::Integer(i8::from_le_bytes(cursor.array()?).into()),
        2 => Value::Integer(u16::from_le_bytes(cursor.array()?).into()),
        3 => Value::Integer(i16::from_le_bytes(cursor.array()?).into()),
        4 => Value::Integer(u32::from_le_bytes(cursor.array()?).into()),
        5 => Value::Integer(i32::from_le_bytes(cursor.array()?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
        7 => Value::Bool(cursor.array::<1>()?[0] != 0),
        10 => Value::Integer(u64::from_le_bytes(cursor.array()?).into()),
        11 => Value::Integer(i64::from_le_bytes(cursor.array()?).into()),
        12 => Value::Float(f64::from_le_bytes(cursor.array()?)),
        _ => return malformed(format!("value type {kind} does not exist")),
    })
}

fn read_value(cursor: &mut Cursor) -> Parsed<Value> {
    match cursor.u32()? {
        8 => cursor.text().map(Value::Text),
        9 => read_array(cursor),
        kind => read_scalar(cursor, kind),
    }
}

fn read_array(cursor: &mut Cursor) -> Parsed<Value> {
    const TEXT: u32 = 8;
    let (kind, count) = (cursor.u32()?, cursor.u64()?);
    let smallest = if kind == TEXT { Some(8) } else { scalar_bytes(kind) };
    let Some(smallest) = smallest else { return malformed(format!("an array of type {kind}")) };
    if count.checked_mul(smallest).is_none_or(|bytes| bytes > cursor.remaining()) {
        return malformed(format!("an array of {count} elements in a file of {} bytes", cursor.length));
    }
    if kind == TEXT {
        return (0..count).map(|_| cursor.text()).collect::<Parsed<_>>().map(Value::Texts);
    }
    if matches!(kind, 6 | 12) {
        let floats = (0..count).map(|_| match read_scalar(cursor, kind)? {
            Value::Float(value) => Ok(value as f32),
            _ => malformed("a float array holds something else"),
        });
        return floats.collect::<Parsed<_>>().map(Value::Floats);
    }
    let integers = (0..count).map(|_| match read_scalar(cursor, kind)? {
        Value::Integer(value) => i64::try_from(value).or_else(|_| malformed("an integer is out of range")),
        Value::Bool(value) => Ok(value.into()),
        _ => malformed("an integer array holds something else"),
    });
    integers.collect::<Parsed<_>>().map(Value::Integers)
}

type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

fn parse(cursor: &mut Cursor) -> Parsed<Contents> {
    if cursor.array::<4>()? != MAGIC {
        return malformed("it does not begin with `GGUF`");
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Fault::Unsupported(format!("its GGUF version is {version}; 2 and 3 are known")));
    }
    let (tensor_count, value_count) = (cursor.u64()?, cursor.u64()?);
    if tensor_count > ENTRIES_MAX || value_count > ENTRIES_MAX {
        return malformed(format!("{tensor_count} tensors and {value_count} values"));
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..value_count {
        let key = cursor.text()?;
        let value = read_value(cursor)?;
        if metadata.insert(key.clone(), value).is_some() {
            return malformed(format!("the key `{key}` comes twice"));
        }
    }
    let described: Vec<_> = (0..tensor_count).map(|_| read_tensor_info(cursor)).collect::<Parsed<_>>()?;
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Integer(value)) if (1..=1 << 20).contains(value) => *value as u64,
        Some(_) => return malformed("general.alignment is out of range"),
    };
    let data = cursor.position.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for mut tensor in described {
        let bytes = tensor.kind.bytes(tensor.columns) as u128 * tensor.rows as u128;
        let end = u128::from(data) + u128::from(tensor.offset) + bytes;
        if end > u128::from(cursor.length) {
            return malformed(format!(
                "the tensor `{}` reaches beyond its end; it may be truncated",
                tensor.name
            ));
        }
        tensor.offset += data;
        if let Some(twice) = tensors.insert(tensor.name.clone(), tensor) {
            return malformed(format!("the tensor `{}` comes twice", twice.name));
        }
    }
    Ok((metadata, tensors))
}

fn read_tensor_info(cursor: &mut Cursor) -> Parsed<TensorInfo> {
    let name = cursor.text()?;
    let dimension_count = cursor.u32()?;
    if dimension_count == 0 || dimension_count > DIMENSIONS_MAX {
        return malformed(format!("the tensor `{name}` has {dimension_count} dimensions"));
    }
    let dimensions: Vec<u64> = (0..dimension_count).map(|_| cursor.u64()).collect::<Parsed<_>>()?;
    let code = cursor.u32()?;
    let offset = cursor.u64()?;
    let Some(kind) = BlockType::from_code(code) else {
        let known = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, and Q6_K";
        return Err(Fault::Unsupported(format!(
            "the tensor `{name}` has block type {}; known are {known}",
            type_name(code)
        )));
    };
    let total = dimensions.iter().try_fold(1_u64, |product, &d| product.checked_mul(d));
    // A weight takes at least half a byte, so this also keeps every product below from overflowing.
    let plausible = total.is_some_and(|total| total > 0 && total / 2 <= cursor.length.saturating_mul(2));
    if !plausible {
        return malformed(format!("the tensor `{name}` has dimensions {dimensions:?}"));
    }
    let columns = dimensions[0] as usize;
    if !columns.is_multiple_of(kind.block_elements()) {
        return malformed(format!(
            "the tensor `{name}` has rows of {columns}, no whole number of {kind:?} blocks"
        ));
    }
    let rows = dimensions[1..].iter().product::<u64>() as usize;
    Ok(TensorInfo { name, columns, rows, kind, offset })
}

/// Names of the block types that ggml defines and this crate does not read, for messages.
fn type_name(code: u32) -> String {
    match code {
        9 => "Q8_1".to_owned(),
        10 => "Q2_K".to_owned(),
        11 => "Q3_K".to_owned(),
        15 => "Q8_K".to_owned(),
        16..=23 | 29 => format!("IQ ({code})"),
        24..=28 => format!("integer or F64 ({code})"),
        34 | 35 => format!("ternary ({code})"),
        39 => "MXFP4".to_owned(),
        _ => format!("number {code}"),
    }
}
