//! Handles damaged rows: they are reported and skipped; a domain's own row is repaired as far as
//! possible.

use kindred_shared::{DomainName, ModelName};

use super::CassandraStore;
use super::failure::Trouble;
use super::rows::{Read, ReadDomain};
use crate::store::damage::{self, Unsound};
use kindred_domain::store::DomainRow;

impl CassandraStore {
    /// Keeps the sound rows.
    pub(super) fn sound<T>(
        &self,
        domain: &DomainName,
        table: &'static str,
        rows: Vec<Read<T>>,
    ) -> Vec<T> {
        let rows = rows.into_iter();
        rows.filter_map(|row| self.sound_one(domain, table, row))
            .collect()
    }

    /// A row, if it is sound.
    pub(super) fn sound_one<T>(
        &self,
        domain: &DomainName,
        table: &'static str,
        row: Read<T>,
    ) -> Option<T> {
        row.map_err(|Unsound { id, reason }| self.damage.found(domain, table, &id, reason))
            .ok()
    }

    /// Repairs a domain's row; returns it with its number of buckets. `None`: its model is unknown,
    /// so the domain counts as not registered.
    pub(super) async fn put_right(
        &self,
        read: ReadDomain,
    ) -> Result<Option<(DomainRow, i16)>, Trouble> {
        let (domain, buckets) = (read.domain.clone(), read.buckets);
        let model = match read.has_model() {
            true => None,
            false => self.model_of(&domain, buckets).await?,
        };
        let is_lost = !read.has_model() && model.is_none();
        if is_lost {
            let wrong = "it does not name its model, and there are no features";
            self.damage.found(&domain, damage::DOMAINS, "", wrong);
        }
        Ok(read.put_right(model).map(|(row, wrong)| {
            if let Some(wrong) = wrong {
                self.damage.found(&domain, damage::DOMAINS, "", wrong);
            }
            (row, buckets)
        }))
    }

    /// The model set for a domain, else the one of its features.
    async fn model_of(
        &self,
        domain: &DomainName,
        buckets: i16,
    ) -> Result<Option<ModelName>, Trouble> {
        let set = self.stored_settings(domain).await?;
        if let Some(model) = set.and_then(|set| set.settings.model) {
            return Ok(Some(model));
        }
        let of_texts = self
            .models
            .iter()
            .filter(|model| **model != ModelName::own());
        for model in of_texts {
            for bucket in 0..buckets {
                let values = (domain.as_str(), model.as_str(), bucket, "", 1_i32);
                let found = self.read(&self.statements.features_from, values).await?;
                if found.rows_num() > 0 {
                    return Ok(Some(model.clone()));
                }
            }
        }
        Ok(None)
    }
}
