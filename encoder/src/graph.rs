//! A model, ready to be run: operators in their order, and constants.
//!
//! What depends on no input is computed when the model is read. What no wanted output depends on is left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use kindred_similarity::Kernel;

use crate::error::{EncodeError, Unfit};
use crate::onnx::{Model, Node};
use crate::operators::{Inputs, Operator};
use crate::tensor::Tensor;

/// Most operators of a model.
const MOST_NODES: usize = 100_000;

/// Where a value is while the model runs.
type Slot = usize;

/// A model that can be run.
#[derive(Debug)]
pub(crate) struct Graph {
    constants: Vec<Option<Arc<Tensor>>>,
    steps: Vec<Step>,
    /// The inputs that it uses, and where they go.
    inputs: Vec<(String, Slot)>,
    output: Slot,
}

/// An operator at its place.
#[derive(Debug)]
struct Step {
    /// Its name or kind, for errors.
    name: String,
    operator: Operator,
    inputs: Vec<Option<Slot>>,
    outputs: Vec<Option<Slot>>,
    /// Values that nothing needs after this step.
    last: Vec<Slot>,
}

/// Why a run ends without a result.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The time is over.
    Late,
    /// Something does not fit.
    Unfit(Unfit),
}

impl From<Unfit> for Stopped {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl Stopped {
    /// As the error of a text that may take this long.
    pub(crate) fn of_text(self, within: std::time::Duration) -> EncodeError {
        match self {
            Self::Late => EncodeError::Late(within),
            Self::Unfit(unfit) => EncodeError::Failed(unfit.to_string()),
        }
    }
}

/// The names of values, and their slots.
#[derive(Default)]
struct Slots(HashMap<String, Slot>);

impl Slots {
    /// A new value of this name; a value is only made once.
    fn made(&mut self, name: &str) -> Result<Slot, Unfit> {
        let next = self.0.len();
        match self.0.insert(name.to_owned(), next) {
            None => Ok(next),
            Some(_) => Err(Unfit::new(format!("two values are named {name}"))),
        }
    }

    fn of(&self, name: &str) -> Result<Slot, Unfit> {
        let found = self.0.get(name).copied();
        found.ok_or_else(|| Unfit::new(format!("nothing makes the value {name}")))
    }
}

impl Graph {
    /// A model of which this output is wanted.
    ///
    /// # Errors
    /// [`Unfit`] if it is not consistent, or an operator is not known.
    pub(crate) fn new(model: Model, output: &str, kernel: Kernel) -> Result<Self, Unfit> {
        if model.nodes.len() > MOST_NODES {
            return Err(Unfit::new("too many operators"));
        }
        let opset = model.opset;
        let mut slots = Slots::default();
        let mut constants = Vec::new();
        for (name, tensor) in model.constants {
            slots.made(&name)?;
            constants.push(Some(Arc::new(tensor)));
        }
        let mut inputs = Vec::new();
        // Older files list constants as inputs, too.
        for name in model.inputs.into_iter().filter(|name| !name.is_empty()) {
            if !slots.0.contains_key(&name) {
                let slot = slots.made(&name)?;
                inputs.push((name, slot));
            }
        }
        let nodes = wired(model.nodes, &mut slots)?;
        constants.resize(slots.0.len(), None);
        let output = slots.of(output)?;
        let needed = needed(&nodes, output, slots.0.len());
        inputs.retain(|(_, slot)| needed[*slot]);
        let mut steps = Vec::new();
        for Wired {
            node,
            inputs,
            outputs,
        } in nodes
        {
            if !outputs.iter().flatten().any(|slot| needed[*slot]) {
                continue;
            }
            let name = name_of(&node);
            let step = Operator::of(&node, opset).map(|operator| Step {
                name: name.clone(),
                operator,
                inputs,
                outputs,
                last: Vec::new(),
            });
            let step = step.map_err(|why| Unfit::new(format!("{name}: {why}")))?;
            let is_constant = |slot: &Slot| constants[*slot].is_some();
            if step.inputs.iter().flatten().all(is_constant) {
                let made = step.apply(&constants, kernel)?;
                for (slot, made) in step.outputs.iter().zip(made) {
                    if let Some(slot) = slot {
                        constants[*slot] = Some(Arc::new(made));
                    }
                }
            } else {
                steps.push(step);
            }
        }
        for step in &mut steps {
            step.prepare(&constants)?;
        }
        let mut graph = Self {
            constants,
            steps,
            inputs,
            output,
        };
        graph.forget();
        Ok(graph)
    }

    /// The names of the inputs that it uses.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|(name, _)| name.as_str())
    }

    /// Finds out after which step each value is not needed any more, and drops constants that no step needs.
    fn forget(&mut self) {
        let mut is_needed = vec![false; self.constants.len()];
        is_needed[self.output] = true;
        for step in self.steps.iter_mut().rev() {
            for slot in step.inputs.iter().chain(&step.outputs).flatten() {
                if !is_needed[*slot] {
                    is_needed[*slot] = true;
                    step.last.push(*slot);
                }
            }
        }
        for (constant, is_needed) in self.constants.iter_mut().zip(is_needed) {
            if !is_needed {
                *constant = None;
            }
        }
    }

    /// The output for inputs of these names, unless it takes until after `deadline`.
    pub(crate) fn run(
        &self,
        input: impl Fn(&str) -> Option<Tensor>,
        kernel: Kernel,
        deadline: Option<Instant>,
    ) -> Result<Tensor, Stopped> {
        let mut values = self.constants.clone();
        for (name, slot) in &self.inputs {
            let value =
                input(name).ok_or_else(|| Unfit::new(format!("input {name} is not known")))?;
            values[*slot] = Some(Arc::new(value));
        }
        for step in &self.steps {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Stopped::Late);
            }
            let made = step.apply(&values, kernel)?;
            for (slot, made) in step.outputs.iter().zip(made) {
                if let Some(slot) = slot {
                    values[*slot] = Some(Arc::new(made));
                }
            }
            for slot in &step.last {
                values[*slot] = None;
            }
        }
        let output = values[self.output].take();
        let output = output.ok_or_else(|| Unfit::new("the output was not made"))?;
        Ok(Arc::unwrap_or_clone(output))
    }
}

/// A node, and where its values are.
struct Wired {
    node: Node,
    inputs: Vec<Option<Slot>>,
    outputs: Vec<Option<Slot>>,
}

/// The nodes with their slots. Each stands after those whose values it uses.
fn wired(nodes: Vec<Node>, slots: &mut Slots) -> Result<Vec<Wired>, Unfit> {
    let mut wired = Vec::with_capacity(nodes.len());
    for node in nodes {
        let given = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => slots.of(name).map(Some),
        };
        let inputs = node.inputs.iter().map(given).collect::<Result<_, _>>()?;
        let mut made = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => slots.made(name).map(Some),
        };
        let outputs = node
            .outputs
            .iter()
            .map(&mut made)
            .collect::<Result<_, _>>()?;
        wired.push(Wired {
            node,
            inputs,
            outputs,
        });
    }
    Ok(wired)
}

/// Which values the output depends on.
fn needed(nodes: &[Wired], output: Slot, slots: usize) -> Vec<bool> {
    let mut needed = vec![false; slots];
    needed[output] = true;
    for wired in nodes.iter().rev() {
        if wired.outputs.iter().flatten().any(|slot| needed[*slot]) {
            wired
                .inputs
                .iter()
                .flatten()
                .for_each(|slot| needed[*slot] = true);
        }
    }
    needed
}

fn name_of(node: &Node) -> String {
    match node.name.as_str() {
        "" => node.operator.clone(),
        name => name.to_owned(),
    }
}

impl Step {
    fn apply(&self, values: &[Option<Arc<Tensor>>], kernel: Kernel) -> Result<Vec<Tensor>, Unfit> {
        let value = |slot: &Option<Slot>| slot.and_then(|slot| values[slot].as_deref());
        let inputs: Vec<Option<&Tensor>> = self.inputs.iter().map(value).collect();
        let made = self.operator.apply(Inputs(&inputs), kernel);
        made.map_err(|why| Unfit::new(format!("{}: {why}", self.name)))
    }

    /// Prepares the operator for those of its inputs that are constants.
    fn prepare(&mut self, constants: &[Option<Arc<Tensor>>]) -> Result<(), Unfit> {
        let value = |slot: &Option<Slot>| slot.and_then(|slot| constants[slot].as_deref());
        let inputs: Vec<Option<&Tensor>> = self.inputs.iter().map(value).collect();
        // A zero that is computed only later cannot be prepared for.
        let is_known = self
            .inputs
            .get(3)
            .is_none_or(|slot| slot.is_none() || value(slot).is_some());
        if !is_known {
            return Ok(());
        }
        let prepared = self.operator.prepared(Inputs(&inputs));
        let prepared = prepared.map_err(|why| Unfit::new(format!("{}: {why}", self.name)))?;
        if let Some(prepared) = prepared {
            self.operator = prepared;
            for place in [1, 3] {
                if let Some(input) = self.inputs.get_mut(place) {
                    *input = None;
                }
            }
        }
        Ok(())
    }
}
