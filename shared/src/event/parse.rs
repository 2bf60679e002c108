//! Parses bytes into an event, or into the reason why it is refused.
//!
//! Rules for every field:
//! - unknown fields are ignored, whatever JSON they hold: publishers may be newer than this
//!   program;
//! - a leading byte-order mark is skipped, and a lone surrogate becomes U+FFFD;
//! - `null` means absent;
//! - if a key is repeated, the last one counts;
//! - in an `item.patched`, a null field becomes absent, and an absent field stays as it is;
//! - of an `item.deleted` only `domain`, `id` and `version` are read.

use chrono::{DateTime, Utc};

use crate::event::field::{self, Fields};
use crate::event::{
    Delete, Event, Limits, MAX_ADDRESS_BYTES, MAX_LABEL_BYTES, MAX_VECTORS, PATCHED, Patch, Reason,
    Refusal, Upsert, UpsertKind,
};
use crate::name::{DomainName, ItemId, OWN};

/// Parses and validates one event.
///
/// # Errors
/// A [`Refusal`] that names the field and the remedy. Reports the first error, in the order size,
/// JSON, required fields, `type`, `domain`, `id`, `version`, all others.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Event, Refusal> {
    read(bytes, limits, Address::None)
}

/// Parses and validates one event that came with a routing key, which must be its domain.
///
/// # Errors
/// Those of [`parse`], and [`Reason::DomainMismatch`] when the routing key is not the event's
/// domain.
pub fn parse_for(bytes: &[u8], limits: &Limits, routing_key: &str) -> Result<Event, Refusal> {
    read(bytes, limits, Address::RoutingKey(routing_key))
}

/// Parses and validates the body of an HTTP PUT of one item.
///
/// `type`, `domain` and `id` may be missing: the address implies them, and `type` is then
/// `item.updated`. If present, they must match the address.
///
/// # Errors
/// Those of [`parse`], [`Reason::DomainMismatch`] or [`Reason::IdMismatch`] when the body differs
/// from the address, and [`Reason::InvalidField`] for `item.deleted`.
pub fn parse_item(
    bytes: &[u8],
    limits: &Limits,
    domain: &DomainName,
    id: &ItemId,
) -> Result<Event, Refusal> {
    read(bytes, limits, Address::Item(domain, id))
}

/// Parses and validates the body of an HTTP PATCH of one item; the version comes from the address.
///
/// `type`, `domain` and `id` may be missing; if present, they must match the address.
///
/// # Errors
/// Those of [`parse_item`].
pub fn parse_patch(
    bytes: &[u8],
    limits: &Limits,
    domain: &DomainName,
    id: &ItemId,
    version: Option<u64>,
) -> Result<Patch, Refusal> {
    let text = field::text(bytes, limits)?;
    let mut fields = Fields::open(&text)?;
    let address = Address::Item(domain, id);
    let kind = fields.string_or("type", Reason::InvalidField, PATCHED)?;
    if let Some(kind) = kind.filter(|kind| kind != PATCHED) {
        return Err(Fields::refuse_text(
            Reason::InvalidField,
            "type",
            &kind,
            "item.patched, which is what a PATCH sends: leave `type` out",
        ));
    }
    let domain = self::domain(&mut fields, address)?;
    let id = self::id(&mut fields, address)?;
    Patch::read(&mut fields, limits, domain, id, version)
}

/// What is known of an event apart from its bytes.
#[derive(Clone, Copy)]
enum Address<'a> {
    None,
    RoutingKey(&'a str),
    Item(&'a DomainName, &'a ItemId),
}

fn read(bytes: &[u8], limits: &Limits, address: Address<'_>) -> Result<Event, Refusal> {
    let text = field::text(bytes, limits)?;
    let mut fields = Fields::open(&text)?;
    if !matches!(address, Address::Item(..)) {
        require(&fields)?;
    }
    let kind = kind(&mut fields, address)?;
    let domain = domain(&mut fields, address)?;
    let id = id(&mut fields, address)?;
    let version = fields.version()?;
    match kind {
        EventAction::Upsert(kind) => upsert(&mut fields, limits, kind, domain, id, version)
            .map(|upsert| Event::Upsert(Box::new(upsert))),
        EventAction::Patch => Patch::read(&mut fields, limits, domain, id, version)
            .map(|patch| Event::Patch(Box::new(patch))),
        EventAction::Delete => Ok(Event::Delete(Delete {
            domain,
            id,
            version,
        })),
    }
}

/// Reports all missing fields at once, so that a publisher can add them in one go.
fn require(fields: &Fields<'_>) -> Result<(), Refusal> {
    let missing: Vec<&str> = ["type", "domain", "id"]
        .into_iter()
        .filter(|name| !fields.has(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    Err(Refusal::new(
        Reason::MissingField,
        Some(&names),
        format!("missing: {names}; every event has type, domain and id"),
    ))
}

/// What an event does to its item.
enum EventAction {
    Upsert(UpsertKind),
    Patch,
    Delete,
}

fn kind(fields: &mut Fields<'_>, address: Address<'_>) -> Result<EventAction, Refusal> {
    const TYPES: &str = "item.created, item.updated, item.patched or item.deleted";
    let word = match fields.string_or("type", Reason::UnknownType, TYPES)? {
        Some(word) => word,
        // Only a PUT gets here without a type.
        None => return Ok(EventAction::Upsert(UpsertKind::Updated)),
    };
    match (word.as_str(), address) {
        ("item.created", _) => Ok(EventAction::Upsert(UpsertKind::Created)),
        ("item.updated", _) => Ok(EventAction::Upsert(UpsertKind::Updated)),
        (PATCHED, Address::Item(..)) => Err(Refusal::new(
            Reason::InvalidField,
            Some("type"),
            "`type` is \"item.patched\", but a PUT contains the whole item: send PATCH to the same address",
        )),
        (PATCHED, _) => Ok(EventAction::Patch),
        ("item.deleted", Address::Item(..)) => Err(Refusal::new(
            Reason::InvalidField,
            Some("type"),
            "`type` is \"item.deleted\", but a PUT creates or updates: send DELETE to the same address",
        )),
        ("item.deleted", _) => Ok(EventAction::Delete),
        _ => Err(Fields::refuse_text(
            Reason::UnknownType,
            "type",
            &word,
            TYPES,
        )),
    }
}

fn domain(fields: &mut Fields<'_>, address: Address<'_>) -> Result<DomainName, Refusal> {
    const EXPECTED: &str = "a string, the name of the item's domain";
    let named = match (
        fields.string_or("domain", Reason::InvalidDomain, EXPECTED)?,
        address,
    ) {
        (Some(name), _) => name,
        (None, Address::Item(domain, _)) => return Ok(domain.clone()),
        (None, _) => return Err(absent("domain")),
    };
    let domain = DomainName::new(&named)
        .map_err(|error| Refusal::new(Reason::InvalidDomain, Some("domain"), error.to_string()))?;
    let (expected, what, remedy) = match address {
        Address::None => return Ok(domain),
        Address::RoutingKey(key) => (
            key,
            "the routing key",
            "publish with the event's domain as routing key",
        ),
        Address::Item(domain, _) => (
            domain.as_str(),
            "the address",
            "leave `domain` out or send to the address of that domain",
        ),
    };
    if domain.as_str() == expected {
        Ok(domain)
    } else {
        Err(mismatch(
            Reason::DomainMismatch,
            "domain",
            &named,
            what,
            expected,
            remedy,
        ))
    }
}

fn id(fields: &mut Fields<'_>, address: Address<'_>) -> Result<ItemId, Refusal> {
    const EXPECTED: &str = "a string, the item's id";
    let named = match (
        fields.string_or("id", Reason::InvalidId, EXPECTED)?,
        address,
    ) {
        (Some(name), _) => name,
        (None, Address::Item(_, id)) => return Ok(id.clone()),
        (None, _) => return Err(absent("id")),
    };
    let id = ItemId::new(&named)
        .map_err(|error| Refusal::new(Reason::InvalidId, Some("id"), error.to_string()))?;
    match address {
        Address::Item(_, expected) if *expected != id => Err(mismatch(
            Reason::IdMismatch,
            "id",
            &named,
            "the address",
            expected.as_str(),
            "leave `id` out or send to the address of that item",
        )),
        _ => Ok(id),
    }
}

fn absent(name: &str) -> Refusal {
    Refusal::new(
        Reason::MissingField,
        Some(name),
        format!("missing: {name}; every event has type, domain and id"),
    )
}

fn mismatch(
    reason: Reason,
    field: &str,
    got: &str,
    what: &str,
    expected: &str,
    remedy: &str,
) -> Refusal {
    let detail = format!(
        "`{field}` is {}, but {what} says {}: {remedy}",
        field::quoted(got),
        field::quoted(expected),
    );
    Refusal::new(reason, Some(field), detail)
}

fn upsert(
    fields: &mut Fields<'_>,
    limits: &Limits,
    kind: UpsertKind,
    domain: DomainName,
    id: ItemId,
    version: Option<u64>,
) -> Result<Upsert, Refusal> {
    let mut vectors = fields.vectors()?;
    let vector = one_of_its_own(fields.vector()?, vectors.remove(OWN))?;
    let count = vectors.len() + usize::from(vector.is_some());
    if count > MAX_VECTORS {
        return Err(field::too_many_vectors(count));
    }
    let upsert = Upsert {
        kind,
        domain,
        id,
        title: fields.string("title")?,
        text: fields.text(limits.text_bytes)?,
        url: fields.short("url", MAX_ADDRESS_BYTES)?,
        image: fields.short("image", MAX_ADDRESS_BYTES)?,
        language: fields.language()?,
        group: fields.short("group", MAX_LABEL_BYTES)?,
        categories: fields.categories()?,
        published_at: fields.time("published_at")?,
        publish_at: fields.time("publish_at")?,
        expires_at: fields.time("expires_at")?,
        hidden: fields.flag("hidden")?,
        version,
        vector,
        vectors,
        attributes: fields.attributes(limits.attributes)?,
    };
    let has_text = upsert.title.is_some() || upsert.text.is_some();
    if !has_text && upsert.vector.is_none() && upsert.vectors.is_empty() {
        return Err(Refusal::new(
            Reason::MissingField,
            Some("title, text, vector"),
            "missing: title, text or vector; an item needs at least one of them",
        ));
    }
    in_order(upsert.publish_at, upsert.expires_at)?;
    Ok(upsert)
}

/// The item's own vector, which may be among the named ones.
fn one_of_its_own(
    vector: Option<Vec<f32>>,
    named: Option<Vec<f32>>,
) -> Result<Option<Vec<f32>>, Refusal> {
    if vector.is_some() && named.is_some() {
        return Err(Refusal::new(
            Reason::InvalidVector,
            Some("vectors.own"),
            "`vector` and `vectors.own` are the same vector: send one of them",
        ));
    }
    Ok(vector.or(named))
}

/// Whether an item becomes visible before it expires.
pub(super) fn in_order(
    publish_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<(), Refusal> {
    match (publish_at, expires_at) {
        (Some(publish_at), Some(expires_at)) if publish_at >= expires_at => Err(Refusal::new(
            Reason::InvalidField,
            Some("publish_at"),
            format!(
                "`publish_at` is {publish_at:?}, not before `expires_at`, {expires_at:?}: nobody would \
                 ever see the item; publish it earlier, or have it expire later"
            ),
        )),
        _ => Ok(()),
    }
}
