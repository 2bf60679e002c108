//! The parts of an ONNX file that running it needs.

use crate::error::Unfit;
use crate::protobuf::{Fields, Value};
use crate::tensor::{Data, Tensor, size};

/// A model as it is stored.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The version of the operators' definitions.
    pub(crate) opset: i64,
    pub(crate) nodes: Vec<Node>,
    /// Tensors by name.
    pub(crate) constants: Vec<(String, Tensor)>,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
}

/// An operator at its place.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) operator: String,
    /// Empty: an input that is left out.
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    attributes: Vec<Attribute>,
}

/// A setting of an operator.
#[derive(Debug, Default)]
struct Attribute {
    name: String,
    float: f32,
    integer: i64,
    integers: Vec<i64>,
    tensor: Option<Tensor>,
}

/// Standard operators have the empty domain, or this one.
const STANDARD: &str = "ai.onnx";
/// The place of a tensor's values: another file.
const EXTERNAL: i64 = 1;

impl Model {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Unfit`] if it is damaged, or has tensors of a type that is not known.
    pub(crate) fn read(file: &[u8]) -> Result<Self, Unfit> {
        let mut model = Self::default();
        for field in Fields::of(file) {
            match field? {
                (7, graph) => model.read_graph(graph.bytes()?)?,
                (8, opset) => {
                    if let Some(version) = read_opset(opset.bytes()?)? {
                        model.opset = version;
                    }
                }
                _ => {}
            }
        }
        if model.nodes.is_empty() || model.outputs.is_empty() {
            return Err(Unfit::new("there is no model in the file"));
        }
        Ok(model)
    }

    fn read_graph(&mut self, graph: &[u8]) -> Result<(), Unfit> {
        for field in Fields::of(graph) {
            match field? {
                (1, node) => self.nodes.push(Node::read(node.bytes()?)?),
                (5, tensor) => self.constants.push(read_tensor(tensor.bytes()?)?),
                (11, input) => self.inputs.push(name_of(input.bytes()?)?),
                (12, output) => self.outputs.push(name_of(output.bytes()?)?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The version of the standard operators, if this is about them.
fn read_opset(opset: &[u8]) -> Result<Option<i64>, Unfit> {
    let (mut domain, mut version) = ("", 0);
    for field in Fields::of(opset) {
        match field? {
            (1, value) => domain = value.text()?,
            (2, value) => version = value.integer()?,
            _ => {}
        }
    }
    Ok((domain.is_empty() || domain == STANDARD).then_some(version))
}

/// The name of an input or output, whose type and shape are in the other fields.
fn name_of(value: &[u8]) -> Result<String, Unfit> {
    for field in Fields::of(value) {
        if let (1, name) = field? {
            return Ok(name.text()?.to_owned());
        }
    }
    Err(Unfit::new("an input or output without a name"))
}

impl Node {
    fn read(node: &[u8]) -> Result<Self, Unfit> {
        let mut read = Self::default();
        for field in Fields::of(node) {
            let (number, value) = field?;
            let text = |value: Value<'_>| value.text().map(str::to_owned);
            match number {
                1 => read.inputs.push(text(value)?),
                2 => read.outputs.push(text(value)?),
                3 => read.name = text(value)?,
                4 => read.operator = text(value)?,
                5 => read.attributes.push(Attribute::read(value.bytes()?)?),
                7 => {
                    let domain = value.text()?;
                    if !domain.is_empty() && domain != STANDARD {
                        return Err(Unfit::new(format!(
                            "operators of {domain} are not known, only those of ONNX itself"
                        )));
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|one| one.name == name)
    }

    /// A whole number that the node sets, or else this.
    pub(crate) fn integer(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |one| one.integer)
    }

    pub(crate) fn float(&self, name: &str, otherwise: f32) -> f32 {
        self.attribute(name).map_or(otherwise, |one| one.float)
    }

    /// Whole numbers that the node sets.
    pub(crate) fn integers(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|one| one.integers.clone())
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.attribute(name)?.tensor.as_ref()
    }

    /// Attributes that are set, by name.
    pub(crate) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|one| one.name.as_str())
    }
}

impl Attribute {
    fn read(attribute: &[u8]) -> Result<Self, Unfit> {
        let mut read = Self::default();
        for field in Fields::of(attribute) {
            match field? {
                (1, name) => read.name = name.text()?.to_owned(),
                (2, float) => read.float = float.floats()?.first().copied().unwrap_or_default(),
                (3, integer) => read.integer = integer.integer()?,
                (5, tensor) => read.tensor = Some(read_tensor(tensor.bytes()?)?.1),
                (6, _) => return Err(Unfit::new("a model with conditions or loops")),
                (8, integers) => read.integers.extend(integers.integers()?),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// A tensor and its name.
fn read_tensor(tensor: &[u8]) -> Result<(String, Tensor), Unfit> {
    let (mut shape, mut kind, mut name) = (Vec::new(), 0, String::new());
    let (mut floats, mut small, mut long) = (Vec::new(), Vec::new(), Vec::new());
    let mut raw: Option<&[u8]> = None;
    for field in Fields::of(tensor) {
        match field? {
            (1, sizes) => shape.extend(sizes.integers()?),
            (2, value) => kind = value.integer()?,
            (4, values) => floats.extend(values.floats()?),
            (5, values) => small.extend(values.integers()?),
            (7, values) => long.extend(values.integers()?),
            (8, value) => name = value.text()?.to_owned(),
            (9, value) => raw = Some(value.bytes()?),
            (14, place) if place.integer()? == EXTERNAL => {
                return Err(Unfit::new(
                    "its values are in another file; store them in the model",
                ));
            }
            _ => {}
        }
    }
    let shape = shape.into_iter().map(size).collect::<Result<_, _>>()?;
    let data = match kind {
        1 => Data::F32(raw.map_or(Ok(floats), |raw| chunks(raw, f32::from_le_bytes))?),
        2 => Data::U8(raw.map_or_else(|| narrow(&small), |raw| Ok(raw.to_vec()))?),
        3 => Data::I8(raw.map_or_else(|| narrow(&small), |raw| chunks(raw, i8::from_le_bytes))?),
        6 => Data::I32(raw.map_or_else(|| narrow(&small), |raw| chunks(raw, i32::from_le_bytes))?),
        7 => Data::I64(raw.map_or(Ok(long), |raw| chunks(raw, i64::from_le_bytes))?),
        9 => Data::Bool(match raw {
            Some(raw) => raw.iter().map(|byte| *byte != 0).collect(),
            None => small.iter().map(|value| *value != 0).collect(),
        }),
        other => {
            return Err(Unfit::new(format!(
                "{name}: values of ONNX type {other}; known are float, uint8, int8, int32, int64 and bool"
            )));
        }
    };
    let tensor = Tensor::new(shape, data).map_err(|why| Unfit::new(format!("{name}: {why}")))?;
    Ok((name, tensor))
}

fn chunks<T, const N: usize>(raw: &[u8], read: fn([u8; N]) -> T) -> Result<Vec<T>, Unfit> {
    match raw.as_chunks::<N>() {
        (chunks, []) => Ok(chunks.iter().map(|bytes| read(*bytes)).collect()),
        _ => Err(Unfit::new("values that end too early")),
    }
}

fn narrow<T: TryFrom<i64>>(values: &[i64]) -> Result<Vec<T>, Unfit> {
    let values = values.iter().map(|value| T::try_from(*value));
    let values: Result<Vec<T>, _> = values.collect();
    values.map_err(|_| Unfit::new("a value outside of its type"))
}
