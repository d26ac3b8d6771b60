//! App passwords: one for each program of a user, revoked one by one.
//!
//! They are made here, 25 characters of a 32-letter alphabet: 125 random bits. Nobody can guess or enumerate that, so a
//! fast digest (BLAKE3 in key-derivation mode, keyed by the account) keeps them as safe as Argon2id would, and programs that
//! log in once a minute cost nothing. What Argon2id defends is a choice of words by a person.

use ekitei_kv::{RangeOptions, Transaction};

use crate::accounts;
use crate::directory::Directory;
use crate::domains::gone_or_missing;
use crate::error::{Error, Result};
use crate::model::{AccountId, AppPassword};
use crate::rows::{self, AppPasswordRow, TxResult};

/// Letters and digits without those that are mistaken for one another (0 o, 1 l).
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Characters of an app password, without the hyphens.
const LENGTH: usize = 25;
/// Characters between hyphens.
const BLOCK: usize = 5;
/// Longest name in octets.
const NAME_OCTETS: usize = 200;

impl Directory {
    /// Makes an app password and returns it: the only time that it can be seen.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `Invalid` (name, or too many of them), `Unavailable`.
    pub async fn create_app_password(&self, account: AccountId, name: &str) -> Result<(AppPassword, String)> {
        check_name(name)?;
        let most = self.current().settings.app_passwords_per_account;
        let password = generate();
        let row =
            AppPasswordRow { name: name.to_owned(), digest: digest(account, &password), created: self.now() };
        let row = &row;
        self.change(|tx| async move {
            accounts::require_row(&tx, account).await?;
            let existing = all(&tx, account).await?;
            if let Some(existing) = existing.iter().find(|existing| existing.name == row.name) {
                // The digest is as good as the random id of an operation.
                return if existing.digest == row.digest {
                    Ok(())
                } else {
                    Err(Error::AlreadyExists { what: "an app password", name: row.name.clone() }.into())
                };
            }
            if existing.len() >= most {
                return Err(Error::Invalid(format!("the account has {most} app passwords already")).into());
            }
            rows::put(&tx, &rows::app_password_key(account, &row.name), row)
        })
        .await?;
        Ok((row.clone().into(), hyphenated(&password)))
    }

    /// All app passwords of an account.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn list_app_passwords(&self, account: AccountId) -> Result<Vec<AppPassword>> {
        self.read(|tx| async move {
            accounts::require_row(&tx, account).await?;
            Ok(all(&tx, account).await?.into_iter().map(AppPassword::from).collect())
        })
        .await
    }

    /// Revokes an app password.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_app_password(&self, account: AccountId, name: &str) -> Result<()> {
        self.change(|tx| async move {
            accounts::require_row(&tx, account).await?;
            let key = rows::app_password_key(account, name);
            if tx.get(&key).await?.is_none() {
                return gone_or_missing(&tx, "app password", &name);
            }
            tx.clear(&key);
            Ok(())
        })
        .await
    }
}

impl From<AppPasswordRow> for AppPassword {
    fn from(row: AppPasswordRow) -> Self {
        Self { name: row.name, created: row.created }
    }
}

/// The app passwords of an account; settings bound their number.
pub(crate) async fn all(tx: &Transaction, account: AccountId) -> TxResult<Vec<AppPasswordRow>> {
    let found = tx.get_range(rows::app_passwords(account), RangeOptions::default()).await?;
    found.iter().map(|row| rows::decode(&row.value)).collect()
}

/// The name of the app password that `typed` is, hyphens, spaces and capitals aside.
pub(crate) fn matching<'a>(account: AccountId, rows: &'a [AppPasswordRow], typed: &str) -> Option<&'a str> {
    let bare: String =
        typed.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
    if bare.len() != LENGTH {
        return None;
    }
    let digest = blake3::Hash::from(digest(account, &bare));
    // The comparison of `blake3::Hash` takes the same time wherever they differ.
    rows.iter().find(|row| blake3::Hash::from(row.digest) == digest).map(|row| row.name.as_str())
}

fn digest(account: AccountId, bare: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("ekitei 2026-11 app password");
    hasher.update(&account.get().to_be_bytes());
    hasher.update(bare.as_bytes());
    *hasher.finalize().as_bytes()
}

fn generate() -> String {
    let random: [u8; LENGTH] = rand::random();
    // 32 divides 256, so every letter is as likely as any other.
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

fn hyphenated(bare: &str) -> String {
    let letters: Vec<char> = bare.chars().collect();
    letters.chunks(BLOCK).map(|block| block.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > NAME_OCTETS || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "the name of an app password has 1 to {NAME_OCTETS} octets and no control characters"
        )));
    }
    Ok(())
}
