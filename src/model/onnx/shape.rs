//! ONNX's rules for axes and shapes.

use super::tensor::count;

/// An axis, counted from behind where it is negative.
///
/// # Errors
/// There is none such.
pub fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let found = from_front.and_then(|a| usize::try_from(a).ok()).filter(|a| *a < rank);
    found.ok_or_else(|| format!("axis {axis} of a value with {rank} axes"))
}

/// Several axes, in rising order.
///
/// # Errors
/// See [`axis`]; one that is named twice.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut axes = list.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    match axes.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(format!("axes {list:?}, of which one is named twice")),
        false => Ok(axes),
    }
}

/// The shape that two are broadcast to: aligned at the end, sizes of 1 repeat.
///
/// # Errors
/// Sizes that differ.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let joint = |i: usize| match (size(a, i), size(b, i)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(joint).collect::<Option<Vec<_>>>().ok_or_else(|| format!("values of shapes {a:?} and {b:?}"))
}

/// The shape that `Reshape` gives to a value of shape `dims`: −1 is what is left, 0 the old size unless `zeros` are meant.
///
/// # Errors
/// A shape of another number of values.
pub fn reshaped(dims: &[usize], wanted: &[i64], zeros: bool) -> Result<Vec<usize>, String> {
    let problem = || format!("a value of shape {dims:?} as {wanted:?}");
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !zeros => *dims.get(i).ok_or_else(problem)?,
            size => usize::try_from(*size).map_err(|_| problem())?,
        });
    }
    let (all, given) = (count(dims)?, count(&shape)?);
    if let Some(open) = open {
        shape[open] = all.checked_div(given).ok_or_else(problem)?;
    }
    match count(&shape)? == all {
        true => Ok(shape),
        false => Err(problem()),
    }
}

/// Indices that `Slice` takes of an axis: first, step, and how many.
pub fn sliced(size: usize, start: i64, end: i64, step: i64) -> Result<(usize, isize, usize), String> {
    let n = size as i64;
    let from_front = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = (from_front(start), from_front(end));
    let (start, end, count) = match step {
        0 => return Err("steps of 0".into()),
        1.. => {
            let (start, end) = (start.clamp(0, n), end.clamp(0, n));
            (start, end, (end - start).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
        }
        _ => {
            let (start, end) = (start.clamp(0, (n - 1).max(0)), end.clamp(-1, n - 1));
            (start, end, (start - end).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
        }
    };
    debug_assert!(end >= -1);
    Ok((start as usize, step.clamp(-n.max(1), n.max(1)) as isize, if n == 0 { 0 } else { count as usize }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_counted_from_both_ends() {
        assert_eq!((axis(-1, 4), axis(2, 4)), (Ok(3), Ok(2)));
        assert!(axis(4, 4).is_err() && axis(-5, 4).is_err() && axis(0, 0).is_err() && axis(i64::MIN, 4).is_err());
        assert_eq!(axes(&[-1, 2], 4), Ok(vec![2, 3]));
        assert!(axes(&[-1, 3], 4).is_err());
    }

    #[test]
    fn a_shape_may_leave_one_size_open() {
        assert_eq!(reshaped(&[2, 3, 4], &[0, -1], false), Ok(vec![2, 12]));
        assert_eq!(reshaped(&[2, 3, 4], &[4, 3, 2], false), Ok(vec![4, 3, 2]));
        assert_eq!(reshaped(&[0, 3], &[0, 7], true), Ok(vec![0, 7]));
        for wanted in [&[5, -1][..], &[-1, -1], &[-2, 12], &[2, 3, 4, 0], &[i64::MAX, i64::MAX]] {
            assert!(reshaped(&[2, 3, 4], wanted, false).is_err(), "{wanted:?}");
        }
    }

    #[test]
    fn slices_are_numpys() {
        assert_eq!(sliced(10, 2, 8, 3), Ok((2, 3, 2)));
        assert_eq!(sliced(10, -3, i64::MAX, 1), Ok((7, 1, 3)));
        assert_eq!(sliced(10, 0, -1, 1), Ok((0, 1, 9)));
        assert_eq!(sliced(10, -1, i64::MIN, -1), Ok((9, -1, 10)));
        assert_eq!(sliced(10, 20, 0, -4), Ok((9, -4, 3)));
        assert_eq!(sliced(10, 5, 5, 1), Ok((5, 1, 0)));
        assert_eq!(sliced(3, 0, 3, i64::MAX), Ok((0, 3, 1)));
        assert!(sliced(10, 0, 1, 0).is_err());
    }
}
