//! The statements, prepared once per session.

use std::time::Duration;

use futures_util::future::try_join_all;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::schema::Keyspace;

/// Rows per page of reads that the database pages.
const PAGE_ROWS: i32 = 1_000;
/// Longest wait for one statement about a lease: if a node hangs, another one is asked while the
/// lease lasts. Longer than the 2 s after which a coordinator gives up by itself
/// (`write_request_timeout`): nodes that have just started answer nearly as late, and an answer that
/// is not waited for keeps no lease.
const LEASE_TIMEOUT: Duration = Duration::from_millis(2_400);

macro_rules! statements {
    ($($kind:ident { $($name:ident: $text:expr,)+ })+) => {
        /// Every statement on rows, prepared.
        pub(super) struct Statements {
            $($(pub(super) $name: PreparedStatement,)+)+
        }

        impl Statements {
            /// Prepares all.
            pub(super) async fn prepare(
                session: &Session,
                keyspace: &Keyspace,
            ) -> Result<Self, PrepareError> {
                let texts = [$($((StatementKind::$kind, $text),)+)+];
                let prepared = texts.map(|(kind, text)| prepare(session, keyspace, kind, text));
                let mut prepared = try_join_all(prepared).await?.into_iter();
                Ok(Self {
                    $($($name: prepared.next().expect("one for every text"),)+)+
                })
            }
        }
    };
}

statements! {
    Idempotent {
        put_domain: "INSERT INTO {ks}.domains (domain, model, partition, buckets, registered_at, dirty, live, \
            visible, next_expiry, removal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
        delete_domain: "DELETE FROM {ks}.domains USING TIMESTAMP ? WHERE domain = ?",
        put_settings: "INSERT INTO {ks}.domain_settings (domain, settings, updated_at) \
            VALUES (?, ?, ?) USING TIMESTAMP ?",
        put_item: "INSERT INTO {ks}.items (domain, bucket, id, version, live, hidden, title, url, \
            language, \"group\", categories, published_at, expires_at, attributes, status, since, \
            rejected, content_hash, image, publish_at, accepted_at, vector_hashes) \
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
        delete_item: "DELETE FROM {ks}.items USING TIMESTAMP ? \
            WHERE domain = ? AND bucket = ? AND id = ?",
        put_content: "INSERT INTO {ks}.item_texts (domain, id, text, vector, vectors) VALUES (?, ?, ?, ?, ?) \
            USING TIMESTAMP ?",
        delete_content: "DELETE FROM {ks}.item_texts USING TIMESTAMP ? \
            WHERE domain = ? AND id = ?",
        put_feature: "INSERT INTO {ks}.item_features (domain, model, bucket, id, version, space, \
            dense, term_ids, term_weights, habits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
            USING TIMESTAMP ?",
        delete_feature: "DELETE FROM {ks}.item_features USING TIMESTAMP ? \
            WHERE domain = ? AND model = ? AND bucket = ? AND id = ?",
        put_list: "INSERT INTO {ks}.similar_items (domain, id, neighbours, model, updated_at) \
            VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
        delete_list: "DELETE FROM {ks}.similar_items USING TIMESTAMP ? \
            WHERE domain = ? AND id = ?",

        put_beside: "INSERT INTO {ks}.domain_models (domain, model, state) VALUES (?, ?, ?) \
            USING TIMESTAMP ?",
        put_beside_habits: "INSERT INTO {ks}.domain_models (domain, model, habits) VALUES (?, ?, ?) \
            USING TIMESTAMP ?",
        put_beside_list: "INSERT INTO {ks}.similar_items_by_model (domain, model, id, neighbours, \
            updated_at) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
        delete_beside_list: "DELETE FROM {ks}.similar_items_by_model USING TIMESTAMP ? \
            WHERE domain = ? AND model = ? AND id = ?",

        sweep_beside_lists: "DELETE FROM {ks}.similar_items_by_model USING TIMESTAMP ? \
            WHERE domain = ? AND model = ?",
        sweep_beside: "DELETE FROM {ks}.domain_models USING TIMESTAMP ? WHERE domain = ? AND model = ?",
        sweep_all_beside: "DELETE FROM {ks}.domain_models USING TIMESTAMP ? WHERE domain = ?",
        sweep_lists: "DELETE FROM {ks}.similar_items USING TIMESTAMP ? WHERE domain = ?",
        sweep_items: "DELETE FROM {ks}.items USING TIMESTAMP ? WHERE domain = ? AND bucket = ?",
        sweep_features: "DELETE FROM {ks}.item_features USING TIMESTAMP ? \
            WHERE domain = ? AND model = ? AND bucket = ?",
        put_log: "INSERT INTO {ks}.domain_log (domain, number, entry) VALUES (?, ?, ?) \
            USING TIMESTAMP ?",
        trim_log: "DELETE FROM {ks}.domain_log USING TIMESTAMP ? WHERE domain = ? AND number < ?",
        sweep_log: "DELETE FROM {ks}.domain_log USING TIMESTAMP ? WHERE domain = ?",
        log: "SELECT number, entry FROM {ks}.domain_log WHERE domain = ? AND number > ? LIMIT ?",
        sweep_settings: "DELETE FROM {ks}.domain_settings USING TIMESTAMP ? WHERE domain = ?",

        put_experiment: "INSERT INTO {ks}.domain_experiments (domain, name, run, experiment) \
            VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
        delete_experiment: "DELETE FROM {ks}.domain_experiments USING TIMESTAMP ? \
            WHERE domain = ? AND name = ?",
        sweep_experiments: "DELETE FROM {ks}.domain_experiments USING TIMESTAMP ? WHERE domain = ?",
        experiments: "SELECT run, experiment FROM {ks}.domain_experiments WHERE domain = ?",
        put_reader: "INSERT INTO {ks}.experiment_readers (domain, run, bucket, reader, tally) \
            VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
        forget_readers: "DELETE FROM {ks}.experiment_readers USING TIMESTAMP ? \
            WHERE domain = ? AND run = ? AND bucket = ?",
        readers_of: "SELECT reader, tally FROM {ks}.experiment_readers \
            WHERE domain = ? AND run = ? AND bucket = ? AND reader IN ?",
        readers_from: "SELECT reader, tally FROM {ks}.experiment_readers \
            WHERE domain = ? AND run = ? AND bucket = ? AND reader > ? LIMIT ?",

        domains: "SELECT domain, model, partition, buckets, registered_at, dirty, live, visible, next_expiry, \
            removal FROM {ks}.domains",
        domain: "SELECT domain, model, partition, buckets, registered_at, dirty, live, visible, next_expiry, \
            removal FROM {ks}.domains WHERE domain = ?",
        settings: "SELECT settings, updated_at FROM {ks}.domain_settings WHERE domain = ?",
        item_ids: "SELECT id FROM {ks}.items WHERE domain = ? AND bucket = ? LIMIT ?",
        items_from: "SELECT id, version, status, since, hidden, title, url, language, \"group\", \
            categories, published_at, expires_at, attributes, rejected, content_hash, image, \
            publish_at, accepted_at, vector_hashes \
            FROM {ks}.items WHERE domain = ? AND bucket = ? AND id >= ? LIMIT ?",
        items_of: "SELECT id, version, status, since, hidden, title, url, language, \"group\", \
            categories, published_at, expires_at, attributes, rejected, content_hash, image, \
            publish_at, accepted_at, vector_hashes \
            FROM {ks}.items WHERE domain = ? AND bucket = ? AND id IN ?",
        // One request, however many buckets: the coordinator asks for each.
        items_in: "SELECT id, version, status, since, hidden, title, url, language, \"group\", \
            categories, published_at, expires_at, attributes, rejected, content_hash, image, \
            publish_at, accepted_at, vector_hashes \
            FROM {ks}.items WHERE domain = ? AND bucket IN ? AND id IN ?",
        features_from: "SELECT id, version, space, dense, term_ids, term_weights, habits \
            FROM {ks}.item_features \
            WHERE domain = ? AND model = ? AND bucket = ? AND id >= ? LIMIT ?",
        feature: "SELECT id, version, space, dense, term_ids, term_weights, habits \
            FROM {ks}.item_features \
            WHERE domain = ? AND model = ? AND bucket = ? AND id = ?",
        content: "SELECT text, vector, vectors FROM {ks}.item_texts WHERE domain = ? AND id = ?",
        list: "SELECT neighbours, model, updated_at FROM {ks}.similar_items \
            WHERE domain = ? AND id = ?",
        beside: "SELECT state, habits FROM {ks}.domain_models WHERE domain = ? AND model = ?",
        all_beside: "SELECT model FROM {ks}.domain_models WHERE domain = ?",
        beside_list: "SELECT neighbours, model, updated_at FROM {ks}.similar_items_by_model \
            WHERE domain = ? AND model = ? AND id = ?",
        beside_list_ids_from: "SELECT id FROM {ks}.similar_items_by_model \
            WHERE domain = ? AND model = ? AND id >= ? LIMIT ?",
        announce: "INSERT INTO {ks}.instances (owner, address) VALUES (?, ?) USING TTL ?",
        withdraw: "DELETE FROM {ks}.instances WHERE owner = ?",
        look_at_lease: "SELECT epoch, owner, address, beat FROM {ks}.partitions WHERE partition = ?",
        instances: "SELECT owner FROM {ks}.instances",
        list_ids_from: "SELECT id FROM {ks}.similar_items WHERE domain = ? AND id >= ? LIMIT ?",
    }
    Serial {
        lease: "SELECT epoch, owner, address, beat FROM {ks}.partitions WHERE partition = ?",
    }
    Local {
        probe: "SELECT value FROM {ks}.meta WHERE key = 'partitions'",
    }
    Conditional {
        make_lease: "INSERT INTO {ks}.partitions (partition, epoch, owner, address, beat) \
            VALUES (?, ?, ?, ?, ?) IF NOT EXISTS",
        take_lease: "UPDATE {ks}.partitions SET epoch = ?, owner = ?, address = ?, beat = ? \
            WHERE partition = ? IF epoch = ? AND owner = ? AND address = ? AND beat = ?",
        // Sets the value that is already there: only the condition matters, and that it is a write.
        fence: "UPDATE {ks}.partitions SET epoch = ? WHERE partition = ? IF epoch = ?",
    }
}

/// How a statement may be sent.
#[derive(Clone, Copy)]
enum StatementKind {
    /// At QUORUM, retried if necessary: reads, and writes that carry their stamp.
    Idempotent,
    /// A read that sees every earlier conditional write.
    Serial,
    /// A read from one replica, which may lag.
    Local,
    /// A lightweight transaction: sent once; its outcome is unknown if it times out.
    Conditional,
}

async fn prepare(
    session: &Session,
    keyspace: &Keyspace,
    kind: StatementKind,
    text: &str,
) -> Result<PreparedStatement, PrepareError> {
    let mut prepared = session.prepare(keyspace.fill(text)).await?;
    prepared.set_page_size(PAGE_ROWS);
    match kind {
        StatementKind::Idempotent => prepared.set_is_idempotent(true),
        StatementKind::Serial => {
            prepared.set_consistency(Consistency::Serial);
            prepared.set_request_timeout(Some(LEASE_TIMEOUT));
        }
        StatementKind::Local => {
            prepared.set_consistency(Consistency::One);
            prepared.set_is_idempotent(true);
        }
        StatementKind::Conditional => prepared.set_request_timeout(Some(LEASE_TIMEOUT)),
    }
    Ok(prepared)
}
