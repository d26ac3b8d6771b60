//! `${NAME}` and `${NAME:-default}` in string values.

/// Looks up a name in the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every `${NAME}` in `text`. A name that is not set, or is empty, takes the text after `:-`; `$${` stands
/// for `${` itself. What was put in is not looked at again.
///
/// # Errors
/// What is wrong and what is allowed.
pub(crate) fn substitute(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let end = from.find('}').ok_or("`${` without `}`; write `$${` for the characters themselves")?;
        out.push_str(&value_of(&from[2..end], environment)?);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(reference: &str, environment: Environment<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !well_formed {
        return Err(format!("`${{{reference}}}` is not `${{NAME}}` or `${{NAME:-default}}`"));
    }
    match (environment(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment has no {name}; set it, or give a default: `${{{name}:-default}}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::substitute;

    fn with(text: &str) -> Result<String, String> {
        substitute(text, &|name| match name {
            "HOST" => Some("mx1".to_owned()),
            "ODD" => Some("${HOST}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        assert_eq!(with("${HOST}.example.test").as_deref(), Ok("mx1.example.test"));
        assert_eq!(with("a${HOST}b${HOST}").as_deref(), Ok("amx1bmx1"));
        assert_eq!(with("${NONE:-fall}back").as_deref(), Ok("fallback"));
        assert_eq!(with("${EMPTY:-x}${NONE:-}").as_deref(), Ok("x"));
        assert_eq!(with("${ODD}").as_deref(), Ok("${HOST}"), "what was put in is not looked at again");
        assert_eq!(with("$${HOST} costs 5$").as_deref(), Ok("${HOST} costs 5$"));
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        for text in ["${NONE}", "${EMPTY}", "${HOST", "${}", "${a b}", "${1A}"] {
            assert!(with(text).is_err(), "{text}");
        }
    }
}
