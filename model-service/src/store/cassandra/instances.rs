//! The model services that are alive: rows that expire within seconds unless they are renewed.

use std::time::Duration;

use super::CassandraStore;
use super::failure::Trouble;

impl CassandraStore {
    pub(super) async fn write_instance(
        &self,
        owner: &str,
        address: &str,
        lasting: Duration,
    ) -> Result<(), Trouble> {
        let seconds = lasting.as_millis().div_ceil(1_000).max(1);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let values = (owner, address, seconds);
        self.session
            .execute_unpaged(&self.statements.announce, values)
            .await?;
        Ok(())
    }

    pub(super) async fn delete_instance(&self, owner: &str) -> Result<(), Trouble> {
        self.session
            .execute_unpaged(&self.statements.withdraw, (owner,))
            .await?;
        Ok(())
    }

    pub(super) async fn read_instances(&self) -> Result<Vec<String>, Trouble> {
        let found = self
            .session
            .execute_unpaged(&self.statements.instances, ())
            .await?
            .into_rows_result()?;
        let rows = found.rows::<(String,)>()?;
        rows.map(|row| Ok(row?.0)).collect()
    }
}
