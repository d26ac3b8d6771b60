//! Accounts and their app passwords.

use axum::extract::State;
use axum::http::StatusCode;
use ekitei_api::{
    Account, AccountPatch, AppPassword, CreatedAppPassword, NewAccount, NewAppPassword, Page, Problem,
};
use ekitei_directory::{AccountChange, AccountId, Domain, Error};

use super::{DomainPaging, convert};
use crate::extract::{IfMatch, Json, Path, Query, Tagged};
use crate::problem::Result;
use crate::state::AppState;

/// Accounts in the order of their addresses.
#[utoipa::path(get, path = "/api/v1/accounts", tag = "accounts", params(DomainPaging), responses(
    (status = 200, description = "A page of accounts.", body = Page<Account>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Query(paging): Query<DomainPaging>,
) -> Result<axum::Json<Page<Account>>> {
    let domain = paging.domain.as_deref().map(Domain::parse).transpose()?;
    let page = state.parts.directory.list_accounts(domain.as_ref(), &paging.page()).await?;
    Ok(convert::page(page, convert::account))
}

/// Create an account.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = NewAccount, responses(
    (status = 201, description = "The account.", body = Account),
    (status = 409, description = "The address is taken.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Json(new): Json<NewAccount>,
) -> Result<(StatusCode, Tagged<Account>)> {
    let account = state.parts.directory.create_account(convert::new_account(new)?).await?;
    Ok((StatusCode::CREATED, convert::account(account).into()))
}

/// An account.
#[utoipa::path(get, path = "/api/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its address or number.")), responses(
    (status = 200, description = "The account.", body = Account),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Path(account): Path<String>,
) -> Result<Tagged<Account>> {
    Ok(convert::account(find(&state, &account).await?).into())
}

/// Change an account, its password included.
#[utoipa::path(patch, path = "/api/v1/accounts/{account}", tag = "accounts", params(
    ("account" = String, Path, description = "Its address or number."),
    ("If-Match" = Option<String>, Header, description = "Only if this is still its entity tag."),
), request_body(content = AccountPatch, content_type = "application/merge-patch+json"), responses(
    (status = 200, description = "The account as it is now.", body = Account),
    (status = 412, description = "It is not what If-Match names.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(state): State<AppState>,
    Path(account): Path<String>,
    IfMatch(revision): IfMatch,
    Json(patch): Json<AccountPatch>,
) -> Result<Tagged<Account>> {
    let id = find(&state, &account).await?.id;
    let change = convert::account_change(patch)?;
    Ok(convert::account(state.parts.directory.update_account(id, change, revision).await?).into())
}

/// Remove an account with its mail.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its address or number.")), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(State(state): State<AppState>, Path(account): Path<String>) -> Result<StatusCode> {
    let id = find(&state, &account).await?.id;
    remove_with_mail(&state, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops mail for the account, removes what it has, and then the account: interrupted anywhere, it can be repeated.
pub(super) async fn remove_with_mail(state: &AppState, id: AccountId) -> Result<()> {
    let disabled = AccountChange { enabled: Some(false), ..AccountChange::default() };
    state.parts.directory.update_account(id, disabled, None).await?;
    state.parts.mailstore.delete_account(id).await?;
    state.parts.directory.delete_account(id).await?;
    // What was on its way while other processes still took the account for enabled.
    state.parts.mailstore.delete_account(id).await?;
    Ok(())
}

/// The app passwords of an account.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/app-passwords", tag = "accounts",
    params(("account" = String, Path, description = "Its address or number.")), responses(
    (status = 200, description = "All of them.", body = Page<AppPassword>),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list_app_passwords(
    State(state): State<AppState>,
    Path(account): Path<String>,
) -> Result<axum::Json<Page<AppPassword>>> {
    let id = find(&state, &account).await?.id;
    let items = state.parts.directory.list_app_passwords(id).await?;
    Ok(axum::Json(Page { items: items.into_iter().map(convert::app_password).collect(), next: None }))
}

/// Make an app password; the answer is the only place where it is shown.
#[utoipa::path(post, path = "/api/v1/accounts/{account}/app-passwords", tag = "accounts",
    params(("account" = String, Path, description = "Its address or number.")), request_body = NewAppPassword, responses(
    (status = 201, description = "The app password.", body = CreatedAppPassword),
    (status = 409, description = "The account has one of that name.", body = Problem, content_type = "application/problem+json"),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create_app_password(
    State(state): State<AppState>,
    Path(account): Path<String>,
    Json(new): Json<NewAppPassword>,
) -> Result<(StatusCode, axum::Json<CreatedAppPassword>)> {
    let id = find(&state, &account).await?.id;
    let (made, password) = state.parts.directory.create_app_password(id, &new.name).await?;
    let created = CreatedAppPassword { name: made.name, created: made.created.unix(), password };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Revoke an app password.
#[utoipa::path(delete, path = "/api/v1/accounts/{account}/app-passwords/{name}", tag = "accounts", params(
    ("account" = String, Path, description = "Its address or number."),
    ("name" = String, Path),
), responses(
    (status = 204, description = "It is gone."),
    (status = "default", description = "A problem.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_app_password(
    State(state): State<AppState>,
    Path((account, name)): Path<(String, String)>,
) -> Result<StatusCode> {
    let id = find(&state, &account).await?.id;
    state.parts.directory.delete_app_password(id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The account that an address or a number names.
pub(super) async fn find(state: &AppState, named: &str) -> Result<ekitei_directory::Account> {
    let directory = &state.parts.directory;
    let found = match named.parse() {
        Ok(number) => directory.account(AccountId::new(number)).await,
        Err(_) => directory.account_by_address(&convert::address(named)?).await,
    };
    match found {
        Err(Error::NotFound { what, .. }) => Err(Error::NotFound { what, name: named.to_owned() }.into()),
        found => Ok(found?),
    }
}
