//! The operators that sentence encoders consist of, as ONNX defines them.

mod elementwise;
mod matrices;
mod quantized;
mod rows;
mod shapes;

use std::sync::Arc;

use kindred_similarity::Kernel;

use self::elementwise::{Binary, Comparison, Unary};
use crate::error::Unfit;
use crate::onnx::Node;
use crate::product::Panels;
use crate::tensor::{Data, Element, Tensor};

/// An operator with its settings.
#[derive(Debug, Clone)]
pub(crate) enum Operator {
    Binary(Binary),
    Compare(Comparison),
    Unary(Unary),
    Not,
    Where,
    Cast(Type),
    Identity,
    Constant(Arc<Tensor>),
    ConstantOfShape(Data),
    Shape,
    Gather {
        axis: i64,
    },
    /// Axes, unless they are an input.
    Unsqueeze(Option<Vec<i64>>),
    Squeeze(Option<Vec<i64>>),
    Reshape {
        keeps_zero: bool,
    },
    Transpose(Option<Vec<i64>>),
    Concat {
        axis: i64,
    },
    Slice,
    Expand,
    CumSum,
    /// Means or sums of the last dimensions.
    Reduce {
        is_mean: bool,
        axes: Option<Vec<i64>>,
        keeps_dimensions: bool,
    },
    Softmax {
        axis: i64,
    },
    LayerNormalization {
        axis: i64,
        epsilon: f32,
    },
    MatMul,
    Gemm {
        alpha: f32,
        beta: f32,
        transposes: (bool, bool),
    },
    MatMulInteger,
    DynamicQuantizeLinear,
    QuantizeLinear {
        axis: i64,
    },
    DequantizeLinear {
        axis: i64,
    },
    /// [`Self::MatMul`] by a constant.
    TimesPanels(Arc<Panels>),
    /// [`Self::MatMulInteger`] by a constant.
    TimesIntegers(Arc<Panels>),
}

/// A type that values are converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    F32,
    I64,
    I32,
    U8,
    I8,
    Bool,
}

impl Type {
    fn of(number: i64) -> Result<Self, Unfit> {
        Ok(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            other => return Err(Unfit::new(format!("conversion to ONNX type {other}"))),
        })
    }
}

/// The values that an operator is applied to, some of which may be left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a>(pub(crate) &'a [Option<&'a Tensor>]);

impl<'a> Inputs<'a> {
    fn get(self, place: usize) -> Result<&'a Tensor, Unfit> {
        let found = self.given(place);
        found.ok_or_else(|| Unfit::new(format!("input {place} is missing")))
    }

    fn given(self, place: usize) -> Option<&'a Tensor> {
        self.0.get(place).copied().flatten()
    }
}

impl Operator {
    /// The operator of a node.
    ///
    /// # Errors
    /// [`Unfit`] if it, or a setting of it, is not known.
    pub(crate) fn of(node: &Node, opset: i64) -> Result<Self, Unfit> {
        let axes = || node.integers("axes");
        let axis = |otherwise| node.integer("axis", otherwise);
        Ok(match node.operator.as_str() {
            "Add" => Self::Binary(Binary::Add),
            "Sub" => Self::Binary(Binary::Sub),
            "Mul" => Self::Binary(Binary::Mul),
            "Div" => Self::Binary(Binary::Div),
            "Pow" => Self::Binary(Binary::Pow),
            "Equal" => Self::Compare(Comparison::Equal),
            "Less" => Self::Compare(Comparison::Less),
            "Greater" => Self::Compare(Comparison::Greater),
            "Sqrt" => Self::Unary(Unary::Sqrt),
            "Erf" => Self::Unary(Unary::Erf),
            "Exp" => Self::Unary(Unary::Exp),
            "Tanh" => Self::Unary(Unary::Tanh),
            "Relu" => Self::Unary(Unary::Relu),
            "Neg" => Self::Unary(Unary::Neg),
            "Not" => Self::Not,
            "Where" => Self::Where,
            "Cast" => Self::Cast(Type::of(node.integer("to", 0))?),
            "Identity" => Self::Identity,
            "Constant" => match node.tensor("value") {
                Some(value) => Self::Constant(Arc::new(value.clone())),
                None => return Err(Unfit::new("a constant that is not a tensor")),
            },
            "ConstantOfShape" => Self::ConstantOfShape(
                node.tensor("value")
                    .map_or(Data::F32(vec![0.0]), |value| value.data.clone()),
            ),
            "Shape" => {
                only(node, &[])?;
                Self::Shape
            }
            "Gather" => Self::Gather { axis: axis(0) },
            "Unsqueeze" => Self::Unsqueeze(axes()),
            "Squeeze" => Self::Squeeze(axes()),
            "Reshape" => Self::Reshape {
                keeps_zero: node.integer("allowzero", 0) != 0,
            },
            "Transpose" => Self::Transpose(node.integers("perm")),
            "Concat" => Self::Concat { axis: axis(0) },
            "Slice" if opset >= 10 => Self::Slice,
            "Expand" => Self::Expand,
            "CumSum" if node.integer("exclusive", 0) == 0 && node.integer("reverse", 0) == 0 => {
                Self::CumSum
            }
            operator @ ("ReduceMean" | "ReduceSum") => {
                only(node, &["axes", "keepdims"])?;
                Self::Reduce {
                    is_mean: operator == "ReduceMean",
                    axes: axes(),
                    keeps_dimensions: node.integer("keepdims", 1) != 0,
                }
            }
            // Before version 13 it had another meaning unless the axis is the last one.
            "Softmax" => Self::Softmax {
                axis: axis(if opset < 13 { 1 } else { -1 }),
            },
            "LayerNormalization" => Self::LayerNormalization {
                axis: axis(-1),
                epsilon: node.float("epsilon", 1e-5),
            },
            "MatMul" => Self::MatMul,
            "Gemm" => Self::Gemm {
                alpha: node.float("alpha", 1.0),
                beta: node.float("beta", 1.0),
                transposes: (
                    node.integer("transA", 0) != 0,
                    node.integer("transB", 0) != 0,
                ),
            },
            "MatMulInteger" => Self::MatMulInteger,
            "DynamicQuantizeLinear" => Self::DynamicQuantizeLinear,
            "QuantizeLinear" => {
                only(node, &["axis", "saturate"])?;
                Self::QuantizeLinear { axis: axis(1) }
            }
            "DequantizeLinear" => {
                only(node, &["axis"])?;
                Self::DequantizeLinear { axis: axis(1) }
            }
            other => return Err(Unfit::new(format!("operator {other} is not known"))),
        })
    }

    /// Applies the operator to values.
    ///
    /// # Errors
    /// [`Unfit`] if their types, shapes or values do not fit it.
    pub(crate) fn apply(&self, inputs: Inputs<'_>, kernel: Kernel) -> Result<Vec<Tensor>, Unfit> {
        let one = match self {
            Self::Binary(operation) => operation.apply(inputs.get(0)?, inputs.get(1)?),
            Self::Compare(comparison) => comparison.apply(inputs.get(0)?, inputs.get(1)?),
            Self::Unary(operation) => operation.apply(inputs.get(0)?, kernel),
            Self::Not => elementwise::not(inputs.get(0)?),
            Self::Where => elementwise::choose(inputs.get(0)?, inputs.get(1)?, inputs.get(2)?),
            Self::Cast(to) => elementwise::cast(inputs.get(0)?, *to),
            Self::Identity => Ok(inputs.get(0)?.clone()),
            Self::Constant(value) => Ok(Tensor::clone(value)),
            Self::ConstantOfShape(value) => shapes::constant_of_shape(inputs.get(0)?, value),
            Self::Shape => shapes::shape(inputs.get(0)?),
            Self::Gather { axis } => shapes::gather(inputs.get(0)?, inputs.get(1)?, *axis),
            Self::Unsqueeze(axes) => shapes::unsqueeze(
                inputs.get(0)?,
                &axes_of(axes.as_ref(), inputs)?.unwrap_or_default(),
            ),
            Self::Squeeze(axes) => shapes::squeeze(inputs.get(0)?, axes_of(axes.as_ref(), inputs)?),
            Self::Reshape { keeps_zero } => {
                shapes::reshape(inputs.get(0)?, inputs.get(1)?, *keeps_zero)
            }
            Self::Transpose(order) => shapes::transpose(inputs.get(0)?, order.as_deref()),
            Self::Concat { axis } => shapes::concat(inputs, *axis),
            Self::Slice => shapes::slice(inputs),
            Self::Expand => shapes::expand(inputs.get(0)?, inputs.get(1)?),
            Self::CumSum => rows::cumulative(inputs.get(0)?, inputs.get(1)?),
            Self::Reduce {
                is_mean,
                axes,
                keeps_dimensions,
            } => {
                let axes = axes_of(axes.as_ref(), inputs)?;
                rows::reduce(inputs.get(0)?, *is_mean, axes, *keeps_dimensions, kernel)
            }
            Self::Softmax { axis } => rows::softmax(inputs.get(0)?, *axis, kernel),
            Self::LayerNormalization { axis, epsilon } => {
                rows::normalized(inputs, *axis, *epsilon, kernel)
            }
            Self::MatMul => matrices::multiply(inputs.get(0)?, inputs.get(1)?, kernel),
            Self::Gemm {
                alpha,
                beta,
                transposes,
            } => matrices::general(inputs, *alpha, *beta, *transposes, kernel),
            Self::MatMulInteger => quantized::multiply(inputs, kernel),
            Self::DynamicQuantizeLinear => {
                return quantized::quantize_dynamically(inputs.get(0)?, kernel);
            }
            Self::QuantizeLinear { axis } => quantized::quantize(inputs, *axis),
            Self::DequantizeLinear { axis } => quantized::dequantize(inputs, *axis),
            Self::TimesPanels(panels) => matrices::times(inputs.get(0)?, panels, kernel),
            Self::TimesIntegers(panels) => {
                quantized::times(inputs.get(0)?, inputs.given(2), panels, kernel)
            }
        };
        Ok(vec![one?])
    }

    /// The same operator prepared for these constants among its inputs, if that saves work; the constants are then not
    /// needed any more.
    pub(crate) fn prepared(&self, constants: Inputs<'_>) -> Result<Option<Self>, Unfit> {
        let Some(right) = constants.given(1).filter(|right| right.shape.len() == 2) else {
            return Ok(None);
        };
        Ok(match self {
            Self::MatMul => {
                let (rows, columns) = (right.shape[0], right.shape[1]);
                let panels = Panels::of_rows(rows, columns, right.values()?);
                Some(Self::TimesPanels(Arc::new(panels)))
            }
            Self::MatMulInteger => {
                let panels = quantized::panels(right, constants.given(3))?;
                Some(Self::TimesIntegers(Arc::new(panels)))
            }
            _ => None,
        })
    }
}

/// Axes that are a setting, or the second input.
fn axes_of(setting: Option<&Vec<i64>>, inputs: Inputs<'_>) -> Result<Option<Vec<i64>>, Unfit> {
    match (setting, inputs.given(1)) {
        (Some(axes), _) => Ok(Some(axes.clone())),
        (None, Some(axes)) => axes.integers().map(Some),
        (None, None) => Ok(None),
    }
}

/// Checks that a node sets nothing but this.
fn only(node: &Node, known: &[&str]) -> Result<(), Unfit> {
    match node.attribute_names().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let operator = &node.operator;
            Err(Unfit::new(format!(
                "setting {name} of operator {operator} is not known"
            )))
        }
    }
}

/// Applies a function to each value.
fn map<T: Element, U: Element>(values: &Tensor, f: impl Fn(T) -> U) -> Result<Tensor, Unfit> {
    let made = values
        .values::<T>()?
        .iter()
        .map(|value| f(*value))
        .collect();
    Tensor::of(values.shape.clone(), made)
}

#[cfg(test)]
mod tests;
