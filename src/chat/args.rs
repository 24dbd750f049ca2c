//! Arguments of filters and methods, bound as Python binds them.

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind};

/// All arguments of a filter after its value; `into_values` makes them ready for [`bind`].
pub(super) type Arguments = Rest<ValueOrKwargs>;

/// Sorts positional and keyword arguments into the named places; None counts as absent.
pub(super) fn bind<const N: usize>(
    args: &[Value],
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let (positional, kwargs): (&[Value], Kwargs) = from_args(args)?;
    if positional.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (place, (i, name)) in bound.iter_mut().zip(names.iter().enumerate()) {
        let value = positional.get(i).cloned();
        let value = if value.is_some() {
            value
        } else {
            kwargs.get::<Option<Value>>(name)?
        };
        *place = value.filter(|v| !v.is_none());
    }
    kwargs.assert_all_used()?;
    Ok(bound)
}

/// The text of an optional argument.
pub(super) fn text_or_none(value: &Option<Value>) -> Result<Option<&str>, Error> {
    value
        .as_ref()
        .map(|v| v.as_str().ok_or_else(|| invalid("a string is needed here")))
        .transpose()
}

/// The text of an argument that must be there.
pub(super) fn required(value: &Option<Value>) -> Result<&str, Error> {
    text_or_none(value)?.ok_or_else(|| invalid("a string is needed here"))
}

/// An error of the kind Python's `ValueError` and `TypeError` are.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
