//! YAML to typed configuration; every error names the path, the value and what is allowed.
