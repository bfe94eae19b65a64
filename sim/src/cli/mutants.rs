//! `sim mutants`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::Done;
use crate::mutants::catalog::{Catalog, Mutant};
use crate::mutants::hunt::{CLEAN_SEEDS, Hunter, Summary, Verdict};
use crate::mutants::tree::Tree;
use crate::world::Mode;

/// `mutants`.
#[derive(Args)]
pub(super) struct Mutants {
    /// Which, by name; none: all that are not equivalent.
    names: Vec<String>,
    /// Show the list, and run nothing.
    #[arg(long)]
    list: bool,
    /// Seeds that each gets at most.
    #[arg(long, default_value_t = 256)]
    seeds: u64,
    /// Make the failing plans small, and keep them in `target/mutants/plans`.
    #[arg(long)]
    shrink: bool,
    /// Where the results are written as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Processes at a time: as many as processors, if it is not said.
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Serialize)]
struct Results<'a> {
    seeds: u64,
    summary: &'a Summary,
    verdicts: &'a [Verdict],
}

impl Mutants {
    pub(super) fn run(self) -> Done {
        // The list is of the sources that this program was built from.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the sources are in no workspace")?;
        let catalog = Catalog::read(root)?;
        let chosen = catalog.chosen(&self.names)?;
        if self.list {
            catalog.all().iter().for_each(describe);
            return Ok(true);
        }
        let tree = Tree::of(root);
        let written = tree.write(&catalog)?;
        eprintln!("{written} files written to {}; building", tree.folder().display());
        let hunter = Hunter::new(&tree.build()?, self.workers, self.seeds);
        let sound = check_clean(&hunter, &chosen)?;
        let mut verdicts = Vec::new();
        for mutant in chosen {
            let began = Instant::now();
            let verdict = hunter.hunt(mutant, self.shrink)?;
            println!("{}  {:.1} s", line(&verdict), began.elapsed().as_secs_f64());
            if let Some(small) = &verdict.shrunk {
                keep(&tree, &verdict.name, &small.plan.text())?;
            }
            verdicts.push(verdict);
        }
        let summary = Summary::of(&verdicts);
        println!("{summary}");
        if let Some(path) = &self.json {
            let results = Results { seeds: self.seeds, summary: &summary, verdicts: &verdicts };
            fs::write(path, serde_json::to_string_pretty(&results)?)?;
        }
        Ok(sound && summary.is_kept())
    }
}

fn describe(mutant: &Mutant) {
    println!("{:<9} {:<40} {}", mutant.area, mutant.name, mutant.about);
    if let Some(why) = &mutant.equivalent {
        println!("{:<9} {:<40} equivalent: {why}", "", "");
    }
}

/// Whether the copy without a mistake passes, in each mode that is needed.
fn check_clean(hunter: &Hunter, chosen: &[&Mutant]) -> Done {
    let mut sound = true;
    for mode in [Mode::Direct, Mode::Wire] {
        if !chosen.iter().any(|mutant| mutant.mode == mode) {
            continue;
        }
        for (seed, failure) in hunter.check_clean(mode)? {
            let first = failure.sentence.lines().next().unwrap_or_default();
            println!("without a mutant, seed {seed} of {CLEAN_SEEDS} fails too: {}: {first}", failure.kind);
            sound = false;
        }
    }
    Ok(sound)
}

fn line(verdict: &Verdict) -> String {
    let Verdict { name, area, kill, undecided, unsound, shrunk, .. } = verdict;
    let mut line = format!("{area:<9} {name:<40} ");
    match kill {
        None => line += "SURVIVES",
        Some(kill) => {
            let sentence: String =
                kill.sentence.lines().next().unwrap_or_default().chars().take(90).collect();
            line += &format!("{:>3} seeds  {}: {sentence}", kill.seeds, kill.kind);
        }
    }
    if let Some(small) = shrunk {
        line += &format!(
            "  [{} faults, {} operations, {} runs, {} replays]",
            small.faults, small.ops, small.runs, small.replays
        );
    }
    if *undecided > 0 {
        line += &format!("  ({undecided} seeds undecided)");
    }
    if !unsound.is_empty() {
        line += &format!("  (seeds {unsound:?} fail without it too)");
    }
    line
}

fn keep(tree: &Tree, name: &str, plan: &str) -> std::io::Result<()> {
    let folder = tree.folder().join("plans");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{name}.json")), plan)
}
