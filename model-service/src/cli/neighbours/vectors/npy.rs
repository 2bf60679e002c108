//! `.npy`: a magic word, a version, the length of a header, the header (a Python dictionary written
//! out), and the values. Source: numpy/lib/_format_impl.py, "Format Version 1.0" to "3.0".

use super::element::{Element, Width};
use super::source::Source;
use super::{Order, Plan, VectorsError};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header accepted: a matrix of floats needs some 100 bytes.
const MAX_HEADER: usize = 64 << 10;

/// The layout from the header, checked against the size of the file.
pub(super) fn plan(source: &Source) -> Result<Plan, VectorsError> {
    let mut first = [0; 8];
    if source.length() < first.len() as u64 {
        return Err(VectorsError::Magic);
    }
    source.read_at(0, &mut first)?;
    let [magic @ .., major, minor] = &first;
    if magic != MAGIC {
        return Err(VectorsError::Magic);
    }
    let width = match (major, minor) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        _ => return Err(VectorsError::Version(*major, *minor)),
    };
    let cut_off = |_| VectorsError::Header("the file ends within it".to_owned());
    let mut length = [0; 4];
    source
        .read_at(first.len() as u64, &mut length[..width])
        .map_err(cut_off)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        let why = format!("it has {length} bytes; at most {MAX_HEADER} are supported");
        return Err(VectorsError::Header(why));
    }
    let mut header = vec![0; length];
    let start = first.len() + width;
    source.read_at(start as u64, &mut header).map_err(cut_off)?;
    let header = String::from_utf8_lossy(&header);
    let header = Header::parse(&header)?;
    let element = element(&header.descr)?;
    let [rows, dimension] = header.shape[..] else {
        return Err(VectorsError::Shape(shown(&header.shape)));
    };
    let start = (start + length) as u64;
    let expected =
        u128::from(start) + u128::from(rows) * u128::from(dimension) * element.bytes() as u128;
    if expected != u128::from(source.length()) {
        let found = source.length();
        return Err(VectorsError::Size { expected, found });
    }
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Plan {
        rows: number(rows),
        dimension: number(dimension),
        element,
        start,
        order: if header.fortran_order {
            Order::Columns
        } else {
            Order::Rows
        },
    })
}

fn element(descr: &str) -> Result<Element, VectorsError> {
    let refused = || VectorsError::Type(format!("'{descr}'"));
    let (order, width) = descr.split_at_checked(1).ok_or_else(refused)?;
    let width = match width {
        "f2" => Width::F16,
        "f4" => Width::F32,
        "f8" => Width::F64,
        _ => return Err(refused()),
    };
    let big_endian = match order {
        "<" => false,
        ">" => true,
        // Native order of the machine that wrote it; assume it is like this one.
        "=" => cfg!(target_endian = "big"),
        _ => return Err(refused()),
    };
    Ok(Element { width, big_endian })
}

/// A shape in Python's notation.
fn shown(shape: &[u64]) -> String {
    let numbers: Vec<String> = shape.iter().map(u64::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    format!("({}{comma})", numbers.join(", "))
}

/// The dictionary.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, VectorsError> {
        let mut reader = LiteralParser { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        reader.expect("{")?;
        while !reader.take("}") {
            let key = reader.string()?;
            reader.expect(":")?;
            match key {
                "descr" if reader.begins("[") => {
                    return Err(VectorsError::Type("a record of several".to_owned()));
                }
                "descr" => descr = Some(reader.string()?.to_owned()),
                "fortran_order" => fortran_order = Some(reader.truth()?),
                "shape" => shape = Some(reader.numbers()?),
                _ => return Err(reader.refuse(&format!("unknown key {key:?}"))),
            }
            if !reader.take(",") {
                reader.expect("}")?;
                break;
            }
        }
        if !reader.rest.trim_ascii().is_empty() {
            return Err(reader.refuse("something follows its end"));
        }
        let missing = |key| VectorsError::Header(format!("it has no '{key}'"));
        Ok(Self {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// Parses Python literals.
struct LiteralParser<'a> {
    rest: &'a str,
}

impl<'a> LiteralParser<'a> {
    fn refuse(&self, why: &str) -> VectorsError {
        let near: String = self.rest.chars().take(24).collect();
        VectorsError::Header(format!("{why}, before {near:?}"))
    }

    fn begins(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_ascii_start();
        self.rest.starts_with(word)
    }

    fn take(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), VectorsError> {
        if self.take(word) {
            return Ok(());
        }
        Err(self.refuse(&format!("{word} is missing")))
    }

    /// A string in quotes of either kind, without escapes.
    fn string(&mut self) -> Result<&'a str, VectorsError> {
        let quote = ["'", "\""].into_iter().find(|quote| self.take(quote));
        let ends = quote.and_then(|quote| self.rest.split_once(quote));
        let Some((string, rest)) = ends else {
            return Err(self.refuse("a string is missing"));
        };
        self.rest = rest;
        Ok(string)
    }

    fn truth(&mut self) -> Result<bool, VectorsError> {
        if self.take("True") {
            Ok(true)
        } else if self.take("False") {
            Ok(false)
        } else {
            Err(self.refuse("True or False is missing"))
        }
    }

    /// A tuple of integers.
    fn numbers(&mut self) -> Result<Vec<u64>, VectorsError> {
        self.expect("(")?;
        let mut numbers = Vec::new();
        while !self.take(")") {
            self.rest = self.rest.trim_ascii_start();
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.rest.split_at(digits);
            let Ok(number) = number.parse() else {
                return Err(self.refuse("an integer is missing"));
            };
            numbers.push(number);
            // Python 2 wrote long integers like this.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(numbers)
    }
}
