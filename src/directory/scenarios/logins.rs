//! Who may log in.

use super::*;
use crate::{AccountChange, AuthError, DomainChange};

async fn login(directory: &Directory, user: &str, password: &str) -> Result<AccountId, AuthError> {
    directory.authenticate(user, password, CONTEXT).await.map(|who| who.account)
}

async fn set_password(directory: &Directory, id: AccountId, password: Option<NewPassword>) {
    let change = AccountChange { password: Some(password), ..AccountChange::default() };
    directory.update_account(id, change, None).await.unwrap();
}

async fn stored_hash(directory: &Directory, id: AccountId) -> String {
    let credential = directory
        .read(|tx| async move {
            crate::rows::find::<crate::rows::CredentialRow>(&tx, &crate::rows::credential_key(id)).await
        })
        .await;
    credential.unwrap().unwrap().hash
}

#[tokio::test]
async fn the_right_password_of_an_enabled_account_and_nothing_else() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    let secret = "secret of alice@example.test";
    assert_eq!(login(&directory, "alice@example.test", secret).await, Ok(alice));
    assert_eq!(login(&directory, "ALICE@example.TEST", secret).await, Ok(alice));
    let wrong = Err(AuthError::InvalidCredentials);
    for (user, password) in [
        ("alice@example.test", "secret of bob@example.test"),
        ("alice@example.test", ""),
        ("alice@example.test", "Secret of alice@example.test"),
        ("bob@example.test", secret),
        ("alice+detail@example.test", secret),
        ("nobody@example.test", secret),
        ("alice@elsewhere.test", secret),
        ("alice", secret),
        ("not an address", secret),
        ("", ""),
    ] {
        assert_eq!(login(&directory, user, password).await, wrong, "{user} {password}");
    }
    let long = "x".repeat(crate::PASSWORD_OCTETS + 1);
    assert_eq!(login(&directory, "alice@example.test", &long).await, wrong);
}

#[tokio::test]
async fn a_name_without_a_domain_is_in_the_default_domain() {
    let directory = example().await;
    directory.reload(Settings { default_domain: Some(domain("example.test")), ..settings() });
    let alice = id(&directory, "alice@example.test").await;
    assert_eq!(login(&directory, "alice", "secret of alice@example.test").await, Ok(alice));
}

#[tokio::test]
async fn a_disabled_account_or_domain_is_told_so_only_with_the_right_password() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    let secret = "secret of alice@example.test";
    assert!(login(&directory, "alice@example.test", secret).await.is_ok());
    let off = AccountChange { enabled: Some(false), ..AccountChange::default() };
    directory.update_account(alice, off, None).await.unwrap();
    assert_eq!(login(&directory, "alice@example.test", secret).await, Err(AuthError::Disabled));
    let wrong = login(&directory, "alice@example.test", "wrong").await;
    assert_eq!(wrong, Err(AuthError::InvalidCredentials));
    let off = DomainChange { enabled: Some(false), ..DomainChange::default() };
    directory.update_domain(&domain("example.test"), off, None).await.unwrap();
    let bob = login(&directory, "bob@example.test", "secret of bob@example.test").await;
    assert_eq!(bob, Err(AuthError::Disabled));
}

#[tokio::test]
async fn a_changed_password_ends_the_remembered_one_in_every_process() {
    let (writer, reader) = two_processes();
    fill(&writer).await;
    let _task = following(&reader);
    let alice = id(&writer, "alice@example.test").await;
    let old = "secret of alice@example.test";
    for directory in [&writer, &reader] {
        assert_eq!(login(directory, "alice@example.test", old).await, Ok(alice));
    }
    set_password(&writer, alice, Some(NewPassword::Plain("another secret".to_owned()))).await;
    assert_eq!(login(&writer, "alice@example.test", old).await, Err(AuthError::InvalidCredentials));
    assert_eq!(login(&writer, "alice@example.test", "another secret").await, Ok(alice));
    for _ in 0..200 {
        if login(&reader, "alice@example.test", old).await == Err(AuthError::InvalidCredentials) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the old password still works in the other process");
}

#[tokio::test]
async fn hashes_of_other_systems_are_believed_once_and_then_replaced() {
    let directory = example().await;
    let dearer = crate::Argon2Cost { memory_kib: 16, passes: 2, lanes: 1 };
    let dearer = crate::password::hash("pleaseletmein", dearer).unwrap().to_text();
    for (n, hash) in FOREIGN.into_iter().chain([dearer.as_str()]).enumerate() {
        let user = format!("user{n}@example.test");
        let account = add_with(&directory, &user, Some(NewPassword::Hash(hash.to_owned()))).await.id;
        let expected = if hash.starts_with("{PLAIN}") { "{ARGON2ID}" } else { hash };
        assert!(stored_hash(&directory, account).await.starts_with(expected), "{hash} is kept as it came");

        let wrong = login(&directory, &user, "pleaseletmeout").await;
        assert_eq!(wrong, Err(AuthError::InvalidCredentials), "{hash}");
        assert!(stored_hash(&directory, account).await.starts_with(expected), "{hash} after a wrong login");
        assert_eq!(login(&directory, &user, "pleaseletmein").await, Ok(account), "{hash}");
        let renewed = stored_hash(&directory, account).await;
        assert!(renewed.starts_with("{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$"), "{hash}: {renewed}");
        assert_eq!(login(&directory, &user, "pleaseletmein").await, Ok(account), "{hash}, again");
    }
}

/// `pleaseletmein`, hashed by `openssl passwd`, libxcrypt and Python's hashlib.
const FOREIGN: [&str; 7] = [
    "{SHA512-CRYPT}$6$saltsalt$DLp8rqDDHzc62TRLuxE5lcA2jU4ooYgB5qhgj93CCSodCdlvlztlsC7G9KOBGply41pz2hdr1kPFUxI9lc1F91",
    "{SHA512-CRYPT}$6$rounds=1500$saltsalt$ZR4MNRrdxKI7Xdx81f/raqELCIEKwP0Y7a8y9XmyQIAy81pNqailZNb/jmrRSJzSyVUOG8Ngsxn2JIp4AN6hd0",
    "{SHA256-CRYPT}$5$saltsalt$yUdLSqlVpW6VnN.cxyOKylX27BiDGmQgXoEaST5kgR1",
    "{BLF-CRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfOp6ztCfdevEd4D3Jtnwhm9a8X.ajoRJG",
    "{SSHA}aXQUx3foyKgdT30Hf0CGtD7bhxxzYWx0",
    "{SSHA512}ur9O9HxWfSFuq5BhKXBcXag8doufqkto6wMrPh1D7tclW6G248EmaeyA3xntmWS2DeM6e5rBRfey5hn5lAYoO3NhbHQ=",
    "{PLAIN}pleaseletmein",
];

#[tokio::test]
async fn an_app_password_opens_one_account_until_it_is_revoked() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    let (made, shown) = directory.create_app_password(alice, "phone").await.unwrap();
    assert_eq!(made.name, "phone");
    for typed in [shown.clone(), shown.replace('-', ""), shown.to_uppercase(), shown.replace('-', " ")] {
        let who = directory.authenticate("alice@example.test", &typed, CONTEXT).await.unwrap();
        assert_eq!((who.account, who.app_password.as_deref()), (alice, Some("phone")));
    }
    assert_eq!(login(&directory, "bob@example.test", &shown).await, Err(AuthError::InvalidCredentials));
    let own =
        directory.authenticate("alice@example.test", "secret of alice@example.test", CONTEXT).await.unwrap();
    assert_eq!(own.app_password, None);
    assert!(directory.create_app_password(alice, "phone").await.is_err(), "names are unique in an account");

    directory.delete_app_password(alice, "phone").await.unwrap();
    assert_eq!(login(&directory, "alice@example.test", &shown).await, Err(AuthError::InvalidCredentials));
    assert!(directory.list_app_passwords(alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_account_without_a_password_opens_to_app_passwords_only() {
    let directory = example().await;
    let account = add_with(&directory, "robot@example.test", None).await;
    assert!(!account.has_password);
    assert_eq!(login(&directory, "robot@example.test", "").await, Err(AuthError::InvalidCredentials));
    let (_, shown) = directory.create_app_password(account.id, "cron").await.unwrap();
    assert_eq!(login(&directory, "robot@example.test", &shown).await, Ok(account.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_logins_than_can_wait_are_refused_for_the_moment_and_remembered_ones_pass() {
    let directory = example().await;
    let slow = crate::Argon2Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    directory.reload(Settings { verify_concurrency: 1, verify_queue: 1, argon2: slow, ..settings() });
    let alice = login(&directory, "alice@example.test", "secret of alice@example.test").await.unwrap();
    let guesses = (0..6).map(|n| {
        let directory = directory.clone();
        tokio::spawn(async move { login(&directory, &format!("nobody{n}@example.test"), "guess").await })
    });
    let guesses: Vec<_> = guesses.collect();
    let again = login(&directory, "alice@example.test", "secret of alice@example.test").await;
    assert_eq!(again, Ok(alice), "costs no hash");
    let mut refused = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            Err(AuthError::Busy) => refused += 1,
            other => assert_eq!(other, Err(AuthError::InvalidCredentials)),
        }
    }
    assert!((1..=5).contains(&refused), "one runs, one waits, {refused} were refused");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_answered_late_and_a_right_one_at_once() {
    let directory = example().await;
    directory.reload(Settings { failed_login_delay: Duration::from_secs(2), ..settings() });
    let started = tokio::time::Instant::now();
    login(&directory, "alice@example.test", "secret of alice@example.test").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    login(&directory, "alice@example.test", "wrong").await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_password_is_the_same_however_its_letters_are_composed() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    set_password(&directory, alice, Some(NewPassword::Plain("pass\u{e9}\u{a0}word".to_owned()))).await;
    assert_eq!(login(&directory, "alice@example.test", "passe\u{301} word").await, Ok(alice));
}

#[tokio::test]
async fn passwords_that_no_user_should_have_are_refused() {
    let directory = example().await;
    let alice = id(&directory, "alice@example.test").await;
    for password in [
        NewPassword::Plain("short".to_owned()),
        NewPassword::Plain("x".repeat(2000)),
        NewPassword::Plain("with a\u{7}bell".to_owned()),
        NewPassword::Hash("{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==".to_owned()),
        NewPassword::Hash("{SSHA}too short".to_owned()),
        NewPassword::Hash(format!("{{SSHA}}{}", "A".repeat(4000))),
        NewPassword::Hash("{PLAIN}".to_owned()),
        NewPassword::Hash(format!("{{SHA512-CRYPT}}$6$rounds=1000001$saltsalt${}", "x".repeat(86))),
        NewPassword::Hash(
            "{ARGON2ID}$argon2id$v=19$m=1048577,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                .to_owned(),
        ),
        NewPassword::Hash(
            "{BLF-CRYPT}$2y$31$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe".to_owned(),
        ),
        NewPassword::Hash("plain words".to_owned()),
    ] {
        let change = AccountChange { password: Some(Some(password.clone())), ..AccountChange::default() };
        let refused = directory.update_account(alice, change, None).await;
        assert!(matches!(refused, Err(crate::Error::Invalid(_))), "{password:?}: {refused:?}");
    }
    assert_eq!(login(&directory, "alice@example.test", "secret of alice@example.test").await, Ok(alice));
}
