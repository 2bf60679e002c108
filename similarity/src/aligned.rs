//! Values that begin at a cache line.

pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
}

impl<T: Copy> Aligned<T> {
    pub(super) fn new(count: usize, value: T) -> Self {
        let spare = 64 / size_of::<T>();
        let values = vec![value; count + spare];
        let start = values.as_ptr().align_offset(64).min(spare);
        let mut aligned = Self { values, start };
        aligned.values.truncate(start + count);
        aligned
    }

    pub(super) fn get(&self) -> &[T] {
        &self.values[self.start..]
    }

    pub(super) fn get_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}
