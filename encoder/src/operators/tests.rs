//! Operators on small values; where ONNX's documentation has an example, that one.

#![allow(clippy::unwrap_used)] // a test may panic

use super::*;

fn tensor<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
    Tensor::of(shape.to_vec(), values.to_vec()).unwrap()
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    tensor(shape, values)
}

fn sizes(values: &[i64]) -> Tensor {
    tensor(&[values.len()], values)
}

fn applied(operator: &Operator, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Unfit> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().copied().map(Some).collect();
    operator.apply(Inputs(&inputs), Kernel::Auto)
}

#[track_caller]
fn one(operator: &Operator, inputs: &[&Tensor]) -> Tensor {
    applied(operator, inputs).unwrap().remove(0)
}

#[track_caller]
fn near(found: &Tensor, shape: &[usize], expected: &[f32]) {
    assert_eq!(found.shape, shape);
    let values: &[f32] = found.values().unwrap();
    assert_eq!(values.len(), expected.len());
    for (value, expected) in values.iter().zip(expected) {
        assert!(
            (value - expected).abs() < 1e-5,
            "{values:?}, expected {expected}"
        );
    }
}

#[test]
fn shapes_and_places() {
    let values = tensor(&[2, 3], &[1_i64, 2, 3, 4, 5, 6]);
    assert_eq!(one(&Operator::Shape, &[&values]), sizes(&[2, 3]));
    let columns = one(
        &Operator::Gather { axis: 1 },
        &[&values, &sizes(&[2, 0, -1])],
    );
    assert_eq!(columns, tensor(&[2, 3], &[3_i64, 1, 3, 6, 4, 6]));
    let row = one(
        &Operator::Gather { axis: 0 },
        &[&values, &Tensor::scalar(1_i64)],
    );
    assert_eq!(row, tensor(&[3], &[4_i64, 5, 6]));
    assert!(applied(&Operator::Gather { axis: 0 }, &[&values, &sizes(&[2])]).is_err());

    let turned = one(&Operator::Transpose(None), &[&values]);
    assert_eq!(turned, tensor(&[3, 2], &[1_i64, 4, 2, 5, 3, 6]));
    let cube = tensor(&[2, 1, 3], &[1_i64, 2, 3, 4, 5, 6]);
    let turned = one(&Operator::Transpose(Some(vec![2, 0, 1])), &[&cube]);
    assert_eq!(turned, tensor(&[3, 2, 1], &[1_i64, 4, 2, 5, 3, 6]));
    let kept = one(&Operator::Transpose(Some(vec![1, 0, 2])), &[&cube]);
    assert_eq!(kept, tensor(&[1, 2, 3], &[1_i64, 2, 3, 4, 5, 6]));
    assert!(applied(&Operator::Transpose(Some(vec![0, 0, 1])), &[&cube]).is_err());

    let wide = one(&Operator::Unsqueeze(Some(vec![0, -1])), &[&values]);
    assert_eq!(wide.shape, [1, 2, 3, 1]);
    assert_eq!(
        one(&Operator::Unsqueeze(None), &[&values, &sizes(&[1])]).shape,
        [2, 1, 3]
    );
    assert_eq!(one(&Operator::Squeeze(None), &[&wide]).shape, [2, 3]);
    assert_eq!(
        one(&Operator::Squeeze(Some(vec![0])), &[&wide]).shape,
        [2, 3, 1]
    );
    assert!(applied(&Operator::Squeeze(Some(vec![1])), &[&wide]).is_err());

    let reshape = Operator::Reshape { keeps_zero: false };
    assert_eq!(
        one(&reshape, &[&values, &sizes(&[0, -1, 1])]).shape,
        [2, 3, 1]
    );
    for wrong in [&[4, -1][..], &[-1, -1], &[0, 0, 0], &[7]] {
        assert!(
            applied(&reshape, &[&values, &sizes(wrong)]).is_err(),
            "{wrong:?}"
        );
    }
    let concat = Operator::Concat { axis: 1 };
    let joined = one(&concat, &[&values, &tensor(&[2, 1], &[7_i64, 8])]);
    assert_eq!(joined, tensor(&[2, 4], &[1_i64, 2, 3, 7, 4, 5, 6, 8]));
    assert!(applied(&concat, &[&values, &sizes(&[1])]).is_err());
    assert!(applied(&concat, &[&values, &floats(&[2, 1], &[1.0, 2.0])]).is_err());

    let part = one(
        &Operator::Slice,
        &[&values, &sizes(&[-2]), &sizes(&[i64::MAX]), &sizes(&[1])],
    );
    assert_eq!(part, tensor(&[2, 2], &[2_i64, 3, 5, 6]));
    let steps = [&sizes(&[0]), &sizes(&[3]), &sizes(&[1]), &sizes(&[2])];
    let part = one(
        &Operator::Slice,
        &[&values, steps[0], steps[1], steps[2], steps[3]],
    );
    assert_eq!(part, tensor(&[2, 2], &[1_i64, 3, 4, 6]));

    let wide = one(
        &Operator::Expand,
        &[&tensor(&[2, 1], &[true, false]), &sizes(&[2, 2])],
    );
    assert_eq!(wide, tensor(&[2, 2], &[true, true, false, false]));
    let constant = Operator::ConstantOfShape(Data::I64(vec![7]));
    assert_eq!(one(&constant, &[&sizes(&[2])]), sizes(&[7, 7]));
    assert!(applied(&constant, &[&sizes(&[1 << 40, 1 << 40])]).is_err());
    assert!(applied(&constant, &[&sizes(&[-1])]).is_err());
}

#[test]
fn values_by_themselves_and_in_pairs() {
    let left = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let of = |operation, right: &Tensor| one(&Operator::Binary(operation), &[&left, right]);
    near(
        &of(Binary::Add, &left),
        &[2, 3],
        &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0],
    );
    near(
        &of(Binary::Mul, &Tensor::scalar(2.0_f32)),
        &[2, 3],
        &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0],
    );
    near(
        &of(Binary::Sub, &floats(&[3], &[1.0, 2.0, 3.0])),
        &[2, 3],
        &[0.0, 0.0, 0.0, 3.0, 3.0, 3.0],
    );
    near(
        &of(Binary::Div, &floats(&[2, 1], &[1.0, 2.0])),
        &[2, 3],
        &[1.0, 2.0, 3.0, 2.0, 2.5, 3.0],
    );
    near(
        &of(Binary::Pow, &Tensor::scalar(2.0_f32)),
        &[2, 3],
        &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0],
    );
    near(
        &of(Binary::Pow, &Tensor::scalar(0.5_f32)),
        &[2, 3],
        &[
            1.0,
            2.0_f32.sqrt(),
            3.0_f32.sqrt(),
            2.0,
            5.0_f32.sqrt(),
            6.0_f32.sqrt(),
        ],
    );
    let column = floats(&[2, 1], &[1.0, 2.0]);
    let both = one(
        &Operator::Binary(Binary::Add),
        &[&column, &floats(&[1, 2], &[10.0, 20.0])],
    );
    near(&both, &[2, 2], &[11.0, 21.0, 12.0, 22.0]);
    assert!(applied(&Operator::Binary(Binary::Add), &[&left, &sizes(&[1, 2, 3])]).is_err());
    let whole = one(
        &Operator::Binary(Binary::Div),
        &[&sizes(&[7, -7, 1]), &sizes(&[2, 2, 0])],
    );
    assert_eq!(whole, sizes(&[3, -3, 0]));

    let roots = one(&Operator::Unary(Unary::Sqrt), &[&floats(&[2], &[4.0, 9.0])]);
    near(&roots, &[2], &[2.0, 3.0]);
    let erf = one(
        &Operator::Unary(Unary::Erf),
        &[&floats(&[3], &[0.0, 0.5, -2.0])],
    );
    near(&erf, &[3], &[0.0, 0.520_499_9, -0.995_322_3]);
    let equal = one(
        &Operator::Compare(Comparison::Equal),
        &[&sizes(&[1, 2]), &Tensor::scalar(2_i64)],
    );
    assert_eq!(equal, tensor(&[2], &[false, true]));
    let not = one(&Operator::Not, &[&equal]);
    let chosen = one(
        &Operator::Where,
        &[&not, &floats(&[], &[1.0]), &floats(&[2, 1], &[5.0, 6.0])],
    );
    near(&chosen, &[2, 2], &[1.0, 5.0, 1.0, 6.0]);
    let cast = one(
        &Operator::Cast(Type::I64),
        &[&floats(&[3], &[1.9, -1.9, f32::NAN])],
    );
    assert_eq!(cast, sizes(&[1, -1, 0]));
    assert_eq!(
        one(&Operator::Cast(Type::Bool), &[&sizes(&[0, 3])]),
        tensor(&[2], &[false, true])
    );
    near(
        &one(&Operator::Cast(Type::F32), &[&equal]),
        &[2],
        &[0.0, 1.0],
    );
}

#[test]
fn rows_by_themselves() {
    let values = floats(&[2, 3], &[1.0, 2.0, 3.0, -1.0, 0.0, 4.0]);
    let reduce = |is_mean, axes: Option<Vec<i64>>, keeps_dimensions| Operator::Reduce {
        is_mean,
        axes,
        keeps_dimensions,
    };
    near(
        &one(&reduce(true, Some(vec![-1]), true), &[&values]),
        &[2, 1],
        &[2.0, 1.0],
    );
    near(&one(&reduce(false, None, false), &[&values]), &[], &[9.0]);
    near(
        &one(&reduce(false, None, false), &[&values, &sizes(&[1])]),
        &[2],
        &[6.0, 3.0],
    );
    assert!(applied(&reduce(true, Some(vec![0]), true), &[&values]).is_err());

    let softmax = one(
        &Operator::Softmax { axis: -1 },
        &[&floats(&[1, 3], &[-1.0, 0.0, 1.0])],
    );
    near(
        &softmax,
        &[1, 3],
        &[0.090_030_57, 0.244_728_48, 0.665_240_94],
    );
    let masked = one(
        &Operator::Softmax { axis: 1 },
        &[&floats(&[1, 2], &[f32::MIN, 5.0])],
    );
    near(&masked, &[1, 2], &[0.0, 1.0]);
    assert!(applied(&Operator::Softmax { axis: 0 }, &[&values]).is_err());

    let (scale, shift) = (floats(&[2], &[1.0, 2.0]), floats(&[2], &[0.0, 1.0]));
    let normalize = Operator::LayerNormalization {
        axis: -1,
        epsilon: 0.0,
    };
    let normal = one(&normalize, &[&floats(&[1, 2], &[3.0, 5.0]), &scale, &shift]);
    near(&normal, &[1, 2], &[-1.0, 3.0]);
    let sums = one(
        &Operator::CumSum,
        &[&tensor(&[2, 2], &[1_i64, 2, 3, 4]), &Tensor::scalar(1_i64)],
    );
    assert_eq!(sums, tensor(&[2, 2], &[1_i64, 3, 3, 7]));
    let sums = one(
        &Operator::CumSum,
        &[&tensor(&[2, 2], &[1_i64, 2, 3, 4]), &Tensor::scalar(0_i64)],
    );
    assert_eq!(sums, tensor(&[2, 2], &[1_i64, 2, 4, 6]));
}

#[test]
fn products() {
    let left = floats(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let right = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    near(
        &one(&Operator::MatMul, &[&left, &right]),
        &[2, 1, 2],
        &[7.0, 10.0, 15.0, 22.0],
    );
    let each = floats(&[2, 2, 1], &[1.0, 0.0, 0.0, 1.0]);
    near(
        &one(&Operator::MatMul, &[&left, &each]),
        &[2, 1, 1],
        &[1.0, 4.0],
    );
    assert!(applied(&Operator::MatMul, &[&left, &floats(&[3, 1], &[1.0; 3])]).is_err());
    let constants = [None, Some(&right)];
    let prepared = Operator::MatMul
        .prepared(Inputs(&constants))
        .unwrap()
        .unwrap();
    near(
        &one(&prepared, &[&left]),
        &[2, 1, 2],
        &[7.0, 10.0, 15.0, 22.0],
    );
    assert!(applied(&prepared, &[&floats(&[3], &[1.0; 3])]).is_err());

    let general = Operator::Gemm {
        alpha: 2.0,
        beta: 0.5,
        transposes: (false, true),
    };
    let inputs = [
        &floats(&[1, 2], &[1.0, 2.0]),
        &right,
        &floats(&[2], &[10.0, 20.0]),
    ];
    near(&one(&general, &inputs), &[1, 2], &[15.0, 32.0]);
}

#[test]
fn numbers_of_8_bits() {
    let values = floats(&[6], &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
    let made = applied(&Operator::DynamicQuantizeLinear, &[&values]).unwrap();
    assert_eq!(made[0], tensor(&[6], &[153_u8, 255, 0, 26, 221, 179]));
    assert_eq!(made[1], Tensor::scalar(0.019_607_844_f32));
    assert_eq!(made[2], Tensor::scalar(153_u8));
    let zeros = applied(
        &Operator::DynamicQuantizeLinear,
        &[&floats(&[2], &[0.0; 2])],
    )
    .unwrap();
    assert_eq!(zeros[0], tensor(&[2], &[0_u8; 2]));
    let infinite = floats(&[1], &[f32::INFINITY]);
    assert!(applied(&Operator::DynamicQuantizeLinear, &[&infinite]).is_err());

    let dequantize = Operator::DequantizeLinear { axis: 1 };
    let numbers = tensor(&[4], &[0_u8, 3, 128, 255]);
    let values = one(
        &dequantize,
        &[&numbers, &Tensor::scalar(2.0_f32), &Tensor::scalar(128_u8)],
    );
    near(&values, &[4], &[-256.0, -250.0, 0.0, 254.0]);
    let by_column = [
        &tensor(&[2, 2], &[1_i8, 2, 3, -4]),
        &floats(&[2], &[1.0, 10.0]),
    ];
    near(
        &one(&dequantize, &by_column),
        &[2, 2],
        &[1.0, 20.0, 3.0, -40.0],
    );
    let quantize = Operator::QuantizeLinear { axis: 1 };
    let values = floats(&[6], &[0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0]);
    let numbers = one(
        &quantize,
        &[&values, &Tensor::scalar(2.0_f32), &Tensor::scalar(128_u8)],
    );
    assert_eq!(numbers, tensor(&[6], &[128_u8, 129, 130, 255, 1, 0]));

    let left = tensor(&[4, 3], &[11_u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
    let right = tensor(&[3, 2], &[1_u8, 4, 2, 5, 3, 6]);
    let (of_left, of_right) = (Tensor::scalar(12_u8), Tensor::scalar(0_u8));
    let expected = tensor(&[4, 2], &[-38_i32, -83, -44, -98, -50, -113, -56, -128]);
    let inputs = [&left, &right, &of_left, &of_right];
    assert_eq!(one(&Operator::MatMulInteger, &inputs), expected);
    let constants = [None, Some(&right), None, Some(&of_right)];
    let prepared = Operator::MatMulInteger
        .prepared(Inputs(&constants))
        .unwrap()
        .unwrap();
    let inputs = [Some(&left), None, Some(&of_left), None];
    let made = prepared.apply(Inputs(&inputs), Kernel::Auto).unwrap();
    assert_eq!(made, [expected]);
}
