//! The command line. One file per group of commands; exit codes are decided here.
//!
//! 0: ok. 1: the answer is no, or the engine could not start. 2: usage. 3: the engine cannot be reached. 128+n: a
//! second signal n cut a drain short.

mod ask;
mod audit;
mod catalogue;
mod check;
mod client;
mod consumer;
mod key;
mod permissions;
mod run;
mod secret_key;
mod store;
mod token;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::Options;

/// The answer is no.
const NO: u8 = 1;
/// The engine cannot be reached.
const NOT_REACHABLE: u8 = 3;

/// An API engine: finishes what has begun, sends nothing twice, retires versions on a published date.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args, Debug)]
struct Common {
    /// The configuration; it also tells where a running engine's control listener and token are.
    #[arg(short, long, global = true, default_value = "mainstay.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The control listener of a running engine, instead of the one in the configuration.
    #[arg(long, global = true, value_name = "URL")]
    admin: Option<String>,
    /// The file with the admin token, with --admin.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Whose certificate the engine's must come from, for https. Without it: the configuration's certificate, with
    /// --admin the CAs that this machine trusts.
    #[arg(long, global = true, value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// The certificate to show the engine, where its control listener has a client_ca.
    #[arg(long, global = true, value_name = "FILE", requires = "admin_key")]
    admin_cert: Option<PathBuf>,
    /// The key of --admin-cert.
    #[arg(long, global = true, value_name = "FILE", requires = "admin_cert")]
    admin_key: Option<PathBuf>,
    /// For people or for programs.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine until SIGTERM or SIGINT; SIGHUP reloads and reopens the log file, SIGUSR2 hands over to a new process.
    Run,
    /// Start a payments service and the engine in front of it, to try things out.
    Demo {
        /// Send a steady mixture of requests through the engine; with --chaos, after the script.
        #[arg(long)]
        traffic: bool,
        /// Play a script of failures, tell what the engine does about each, and end.
        #[arg(long)]
        chaos: bool,
        /// Divides the least times of the script's scenes.
        #[arg(long, hide = true, default_value_t = 1, value_name = "TIMES", requires = "chaos",
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        chaos_speed: u32,
    },
    /// Print a commented configuration to begin with.
    Init {
        /// Make one that runs, from this OpenAPI document.
        #[arg(long, value_name = "FILE", requires = "upstream")]
        openapi: Option<PathBuf>,
        /// Where the document's API is served, such as http://127.0.0.1:9001.
        #[arg(long, value_name = "URL", requires = "openapi")]
        upstream: Option<String>,
    },
    /// Check a configuration: every problem at once, each with its place.
    Check {
        /// The configuration; without it, the one of --config.
        file: Option<PathBuf>,
        /// An older configuration: its published dates may only move later, and loosenings are shown.
        #[arg(long, value_name = "OLD")]
        against: Option<PathBuf>,
        /// Take missing environment variables for warnings.
        #[arg(long)]
        allow_missing_env: bool,
    },
    /// Print what a configuration would change in the running engine; exit code 1 if something loosens.
    Plan {
        /// The configuration; without it, the one of --config.
        file: Option<PathBuf>,
    },
    /// Have the running engine load its configuration again.
    Reload,
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Say what would happen to a request, or what happened to one.
    Explain {
        /// The configuration, then method and URL.
        #[arg(num_args = 0..=3, value_names = ["FILE", "METHOD", "URL"])]
        request: Vec<String>,
        /// A header of the request.
        #[arg(short = 'H', value_name = "NAME: VALUE")]
        header: Vec<String>,
        /// The date to explain for, such as 2027-02-01; without it, now.
        #[arg(long, value_name = "DATE")]
        at: Option<String>,
        /// Ask the running engine about a recent request.
        #[arg(long, value_name = "ID", conflicts_with_all = ["request", "header", "at"])]
        request_id: Option<String>,
    },
    /// Show versions, their dates, and who still calls the deprecated ones.
    Versions,
    /// Show upstreams, their endpoints and connections.
    Upstreams,
    /// Make, show, change and delete consumers.
    #[command(subcommand)]
    Consumer(consumer::Command),
    /// Make, list, rotate, revoke and import API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Make, show, change and delete OAuth clients.
    #[command(subcommand)]
    Client(client::Command),
    /// Make, show, change and delete users.
    #[command(subcommand)]
    User(user::Command),
    /// Make, list and revoke tokens of the admin API.
    #[command(subcommand)]
    Token(token::Command),
    /// Show what was changed by whom, and verify it.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Write the whole catalogue and its audit into a new file, also while an engine runs.
    Backup {
        /// The file to write; it must not be there yet.
        file: PathBuf,
    },
    /// Fill an empty store from a backup; no engine may have it.
    Restore {
        /// The backup.
        file: PathBuf,
    },
    /// Bring the store's schema up to this release's, once no older release runs on it any more.
    Migrate,
    /// Exchange the key that seals what must be recoverable; the engine must not run meanwhile.
    #[command(subcommand)]
    SecretKey(secret_key::Command),
    /// Try policies.
    #[command(subcommand)]
    Permissions(permissions::Command),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let code = match command {
        Command::Run => run::run(&common),
        Command::Demo { traffic, chaos, chaos_speed } => {
            run::demo(Options { traffic, chaos: chaos.then_some(chaos_speed) })
        }
        Command::Init { openapi, upstream } => check::init(openapi.as_deref().zip(upstream.as_deref())),
        Command::Check { file, against, allow_missing_env } => {
            check::check(&common, file, against.as_deref(), allow_missing_env)
        }
        Command::Schema => check::schema(),
        Command::Explain { request, header, at, request_id: None } => {
            check::explain(&common, &request, &header, at.as_deref())
        }
        Command::Explain { request_id: Some(id), .. } => ask::request(&common, &id),
        Command::Plan { file } => ask::plan(&common, file),
        Command::Reload => ask::reload(&common),
        Command::Versions => ask::versions(&common),
        Command::Upstreams => ask::upstreams(&common),
        Command::Consumer(command) => consumer::run(&common, command),
        Command::Key(command) => key::run(&common, command),
        Command::Client(command) => client::run(&common, command),
        Command::User(command) => user::run(&common, command),
        Command::Token(command) => token::run(&common, command),
        Command::Backup { file } => store::backup(&common, &file),
        Command::Restore { file } => store::restore(&common, &file),
        Command::Migrate => store::migrate(&common),
        Command::Audit(command) => audit::run(&common, &command),
        Command::SecretKey(command) => secret_key::run(&common, command),
        Command::Permissions(command) => permissions::run(&common, &command),
    };
    ExitCode::from(code)
}

/// Prints to standard output. A reader that has gone away is no error worth a panic.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error.
fn complain(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
