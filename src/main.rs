//! The `ekitei` command: the service, and the administrator's verbs.

fn main() -> std::process::ExitCode {
    ekitei::cli::main()
}
