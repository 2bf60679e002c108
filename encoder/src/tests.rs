//! Small models, written byte by byte: read, ordered, run, and refused.

#![allow(clippy::unwrap_used)] // a test may panic

use std::time::{Duration, Instant};

use kindred_similarity::Kernel;
use proptest::prelude::*;

use crate::error::Unfit;
use crate::graph::{Graph, Stopped};
use crate::onnx::Model;
use crate::tensor::Tensor;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn tensor(name: &str, shape: &[i64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let shape: Vec<u8> = shape.iter().flat_map(|size| number(1, *size)).collect();
    [shape, number(2, 1), bytes(8, name), bytes(9, raw)].concat()
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name));
    let outputs = outputs.iter().flat_map(|name| bytes(2, name));
    let named = inputs.chain(outputs).chain(bytes(4, operator));
    let attributes = attributes.iter().flat_map(|one| bytes(5, one));
    named.chain(attributes).collect()
}

fn integer(name: &str, value: i64) -> Vec<u8> {
    [bytes(1, name), number(3, value)].concat()
}

fn integers(name: &str, values: &[i64]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| number(8, *value));
    bytes(1, name).into_iter().chain(values).collect()
}

fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
    graph.extend(bytes(
        5,
        tensor("table", &[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
    ));
    graph.extend(bytes(11, bytes(1, "input_ids")));
    graph.extend(bytes(12, bytes(1, "out")));
    [number(1, 8), bytes(7, graph), bytes(8, number(2, 11))].concat()
}

fn graph(file: &[u8]) -> Result<Graph, Unfit> {
    Graph::new(Model::read(file)?, "out", Kernel::Auto)
}

fn ids(values: &[i64]) -> Option<Tensor> {
    Tensor::of(vec![1, values.len()], values.to_vec()).ok()
}

/// A row of a table by each id, and twice that, which is a constant.
fn looked_up() -> Vec<Vec<u8>> {
    vec![
        node("Add", &["table", "table"], &["twice"], &[]),
        node(
            "Gather",
            &["twice", "input_ids"],
            &["out"],
            &[integer("axis", 0)],
        ),
    ]
}

#[test]
fn a_model_is_run_in_its_order() {
    let graph = graph(&model(&looked_up())).unwrap();
    assert_eq!(graph.inputs().collect::<Vec<_>>(), ["input_ids"]);
    for _ in 0..2 {
        let made = graph.run(|_| ids(&[2, 0]), Kernel::Auto, None).unwrap();
        assert_eq!(
            made,
            Tensor::of(vec![1, 2, 2], vec![8.0_f32, 10.0, 0.0, 2.0]).unwrap()
        );
    }
    let outside = graph.run(|_| ids(&[4]), Kernel::Auto, None);
    assert!(matches!(outside, Err(Stopped::Unfit(_))));
    let late = graph.run(|_| ids(&[0]), Kernel::Auto, Some(Instant::now()));
    assert!(matches!(late, Err(Stopped::Late)));
    let later = Instant::now() + Duration::from_secs(60);
    assert!(graph.run(|_| ids(&[0]), Kernel::Auto, Some(later)).is_ok());
}

#[test]
fn what_the_output_does_not_need_is_left_out() {
    let mut nodes = looked_up();
    nodes.push(node("NoSuchOperator", &["out"], &["more"], &[]));
    assert!(graph(&model(&nodes)).is_ok());
    let needed = [node("NoSuchOperator", &["input_ids"], &["out"], &[])];
    let refused = graph(&model(&needed)).unwrap_err();
    assert!(
        refused.to_string().contains("NoSuchOperator is not known"),
        "{refused}"
    );
}

#[test]
fn a_model_that_is_not_consistent_is_refused() {
    let gather = |from: &str, to: &str| node("Gather", &[from, "input_ids"], &[to], &[]);
    for (nodes, words) in [
        (
            vec![gather("nothing", "out")],
            "nothing makes the value nothing",
        ),
        (
            vec![gather("table", "other")],
            "nothing makes the value out",
        ),
        (vec![gather("out", "out")], "nothing makes"),
        (
            vec![gather("table", "out"), gather("table", "out")],
            "two values",
        ),
        (vec![gather("table", "table")], "two values"),
        (
            vec![node("Add", &["table"], &["out"], &[])],
            "input 1 is missing",
        ),
        (
            vec![node("Reshape", &["table", "table"], &["out"], &[])],
            "whole numbers",
        ),
        (
            vec![node(
                "Transpose",
                &["table"],
                &["out"],
                &[integers("perm", &[0, 0])],
            )],
            "order of dimensions",
        ),
        (
            vec![
                [
                    node("FastGelu", &["input_ids"], &["out"], &[]),
                    bytes(7, "com.microsoft"),
                ]
                .concat(),
            ],
            "com.microsoft",
        ),
    ] {
        let refused = graph(&model(&nodes)).unwrap_err();
        assert!(
            refused.to_string().contains(words),
            "{refused}, expected {words}"
        );
    }
    let half_precision = [number(2, 10), bytes(8, "half")].concat();
    let outside = [number(2, 1), bytes(8, "far"), number(14, 1)].concat();
    let short = [number(1, 3), number(2, 1), bytes(9, [0; 8])].concat();
    for (constant, words) in [
        (half_precision, "type 10"),
        (outside, "another file"),
        (short, "2 values"),
    ] {
        let file = [model(&looked_up()), bytes(7, bytes(5, constant))].concat();
        let refused = graph(&file).unwrap_err();
        assert!(
            refused.to_string().contains(words),
            "{refused}, expected {words}"
        );
    }
}

proptest! {
    /// Whatever is changed in a file, it is refused or run; nothing panics.
    #[test]
    fn any_file_is_refused_or_run(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let nodes = [
            node("Shape", &["input_ids"], &["shape"], &[]),
            node("Gather", &["table", "input_ids"], &["rows"], &[integer("axis", 0)]),
            node("Transpose", &["rows"], &["turned"], &[integers("perm", &[0, 2, 1])]),
            node("MatMul", &["rows", "turned"], &["products"], &[]),
            node("Softmax", &["products"], &["shares"], &[integer("axis", -1)]),
            node("ReduceMean", &["shares"], &["means"], &[integers("axes", &[-1]), integer("keepdims", 1)]),
            node("Mul", &["rows", "means"], &["weighed"], &[]),
            node("DynamicQuantizeLinear", &["weighed"], &["numbers", "scale", "zero"], &[]),
            node("DequantizeLinear", &["numbers", "scale", "zero"], &["out"], &[]),
        ];
        let mut file = model(&nodes);
        prop_assert!(graph(&file).is_ok());
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Ok(graph) = graph(&file) {
            // Errors are as good as results.
            let _ = graph.run(|_| ids(&[1, 3, 0]), Kernel::Auto, None);
        }
    }
}
