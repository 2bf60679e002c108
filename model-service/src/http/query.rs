//! Query parameters: undocumented ones are refused, and each is parsed strictly.

use std::future::{Ready, ready};
use std::ops::RangeInclusive;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use kindred_api::problem::ProblemKind;
use strsim::damerau_levenshtein;

use super::error::Error;

/// The parameters of a query.
pub(crate) struct InQuery<T>(pub(crate) T);

/// Parameters of a route.
pub(crate) trait Parameters: Sized {
    /// Parses them.
    fn read(given: &Given) -> Result<Self, Error>;
}

impl<T: Parameters> FromRequest for InQuery<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(T::read(&Given::of(request.query_string())).map(Self))
    }
}

/// The decoded query string, in order.
pub(crate) struct Given(Vec<(String, String)>);

impl Given {
    /// Parses a query string; every string is valid.
    pub(crate) fn of(query: &str) -> Self {
        if query.is_empty() {
            return Self(Vec::new());
        }
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query);
        Self(pairs.map(web::Query::into_inner).unwrap_or_default())
    }

    /// An integer in a range, given at most once; `None`: not given.
    ///
    /// # Errors
    /// `invalid` when it is given twice or is something else.
    pub(crate) fn whole_number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        invalid: impl FnOnce() -> Error,
    ) -> Result<Option<u64>, Error> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some((_, value)), None) => value,
            (Some(_), Some(_)) => return Err(invalid()),
        };
        // `parse` alone would accept a leading plus.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|number| range.contains(number));
        match number {
            Some(number) if digits => Ok(Some(number)),
            _ => Err(invalid()),
        }
    }

    /// Every parameter and its value, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A string given at most once; `None`: not given.
    ///
    /// # Errors
    /// `invalid` when it is given twice.
    pub(crate) fn once(
        &self,
        name: &str,
        invalid: impl FnOnce() -> Error,
    ) -> Result<Option<&str>, Error> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.map(|(_, value)| value.as_str())),
            (_, Some(_)) => Err(invalid()),
        }
    }

    /// Refuses the first parameter that is not among the `known`. One that is known as `….NAME` may
    /// have any name there.
    ///
    /// # Errors
    /// 400, with the known parameters and the nearest one.
    pub(crate) fn only(&self, known: &[String]) -> Result<(), Error> {
        let is_of = |name: &str, known: &str| match known.strip_suffix(NAME) {
            Some(before) => name.len() > before.len() && name.starts_with(before),
            None => name == known,
        };
        let mut given = self.0.iter();
        match given.find(|(name, _)| !known.iter().any(|one| is_of(name, one))) {
            Some((name, _)) => Err(unknown("parameter", name, known)),
            None => Ok(()),
        }
    }
}

/// Stands for any name at the end of a documented parameter.
const NAME: &str = "NAME";

/// The error for an unknown parameter or field.
pub(crate) fn unknown<T: AsRef<str>>(what: &str, name: &str, known: &[T]) -> Error {
    let shown: String = name.chars().take(100).collect();
    let detail = match nearest(&shown, known) {
        Some(nearest) => {
            let all: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            let all = all.join(", ");
            format!("Unknown {what} {shown:?}; the nearest is {nearest}. Known: {all}.")
        }
        None => format!("Unknown {what} {shown:?}; none is accepted here."),
    };
    Error::new(ProblemKind::UnknownParameter, detail).field(shown)
}

/// The known word most similar to the given one.
pub(crate) fn nearest<'a, T: AsRef<str>>(given: &str, known: &'a [T]) -> Option<&'a str> {
    let known = known.iter().map(AsRef::as_ref);
    known.min_by_key(|one| damerau_levenshtein(given, one))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    fn number(query: &str) -> Option<Option<u64>> {
        let invalid = || Error::new(ProblemKind::InvalidParameter, "no");
        Given::of(query).whole_number("n", 1..=50, invalid).ok()
    }

    #[test]
    fn a_number_is_digits_in_its_range_given_once() {
        assert_eq!(number(""), Some(None));
        assert_eq!(number("m=1"), Some(None));
        assert_eq!(number("n=50&m=2"), Some(Some(50)));
        assert_eq!(number("n=%35"), Some(Some(5)));
        for bad in [
            "n", "n=", "n=0", "n=51", "n=+1", "n=1.0", "n=%ff", "n=1&n=1",
        ] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest() {
        let known = ["limit", "min_score", "exclude"].map(str::to_owned);
        assert_eq!(
            Given::of("limit=3&exclude=a&exclude=b").only(&known),
            Ok(())
        );
        for (query, nearest) in [
            ("limt=3", "limit"),
            ("limit=3&lmiit=3", "limit"),
            ("minscore=1", "min_score"),
            ("Exclude", "exclude"),
        ] {
            let error = Given::of(query).only(&known).expect_err(query);
            assert_eq!(error.status_code(), 400);
            let words = error.to_string();
            assert!(words.contains(&format!("nearest is {nearest}.")), "{words}");
        }
        let error = Given::of("x=1").only(&[]).expect_err("unknown");
        assert!(error.to_string().contains("\"x\""));
    }
}
