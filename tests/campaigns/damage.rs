//! A store that is damaged while nobody looks: flipped bits, zeroed blocks, segments cut short or
//! gone. Whatever is done to it: it opens, the log names what is lost by segment and place, and
//! everything that is not damaged is delivered.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::Plan;
use crate::event::TestEvent;
use crate::gateway::Settings;
use crate::stage::{LONGEST_DELIVERY, Stage};

/// Each is a segment of its own, since each start begins one.
const LIVES: usize = 3;
const EVENTS: usize = 12;
const SEGMENT_HEADER: usize = 64;
const BLOCK: usize = 4096;
/// What stands before a body in its frame is shorter.
const FRAME_HEAD: usize = 700;

/// What is done to a segment's file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    HeaderBit,
    Bit,
    Block,
    CutShort,
    Gone,
}

const ALL: [Damage; 5] =
    [Damage::HeaderBit, Damage::Bit, Damage::Block, Damage::CutShort, Damage::Gone];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_and_costs_no_more_than_what_it_touches() {
    let plan = Plan::from_env("DAMAGE", ALL.len() as u64);
    let mut rng = Rng::with_seed(plan.seed);
    let mut lost = 0;
    for round in 0..plan.rounds {
        let damage = match ALL.get(usize::try_from(round).unwrap()) {
            Some(damage) => *damage,
            None => ALL[rng.usize(..ALL.len())],
        };
        let directory = Plan::directory();
        let result = scene(directory.path(), damage, rng.fork()).await;
        lost += *result.as_ref().unwrap_or(&0);
        plan.conclude(directory, result.map(drop));
    }
    println!("damage: {} rounds, {lost} events lost, each of them named", plan.rounds);
}

/// How many events were lost.
async fn scene(directory: &Path, damage: Damage, mut rng: Rng) -> Result<usize, String> {
    let store = directory.join("data");
    let mut stage = Stage::new(directory, &Settings::new(store.clone()), rng.u64(..)).await;
    for life in 1..=LIVES {
        stage.gateway.start().await;
        stage.send_accepted(EVENTS).await;
        if life == LIVES { stage.stop().await } else { stage.kill() }
    }
    let segments = segments(&store);
    let path = &segments[rng.usize(..segments.len())];
    let touched = inflict(damage, path, &mut rng);
    let story = format!("{damage:?} in {}", path.file_name().unwrap().display());

    stage.gateway.start().await;
    stage.app.set_down(false);
    let all_settled = async {
        while stage.gateway.backlog().await != Some(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LONGEST_DELIVERY, all_settled).await.is_err() {
        return Err(format!("{story}: not everything is settled\n{}", stage.gateway.last_words()));
    }
    let lost = stage.ledger.missing_numbers();
    // In order, so that all of its log is there.
    stage.stop().await;
    let (log, words) = (stage.gateway.log(), stage.gateway.last_words());
    println!("damage: {story}: {} events touched, {} lost", touched.len(), lost.len());
    for number in &lost {
        let Some(place) = touched.iter().find(|place| place.number == *number) else {
            return Err(format!("{story}: event {number} is lost and was not touched\n{words}"));
        };
        if !is_told(&log, segment_number(path), place.at) {
            return Err(format!("{story}: event {number} at {} is not named\n{words}", place.at));
        }
    }
    Ok(lost.len())
}

/// Where an event's body stands.
struct Place {
    number: u32,
    at: usize,
}

/// Damages the file; the events that may have suffered.
fn inflict(damage: Damage, path: &Path, rng: &mut Rng) -> Vec<Place> {
    let mut bytes = fs::read(path).unwrap();
    let places = places(&bytes);
    let range = match damage {
        Damage::HeaderBit => at(rng.usize(..SEGMENT_HEADER)),
        Damage::Bit => at(rng.usize(SEGMENT_HEADER..bytes.len())),
        Damage::Block => {
            let from = rng.usize(..bytes.len()) / BLOCK * BLOCK;
            from..(from + BLOCK).min(bytes.len())
        }
        Damage::CutShort => rng.usize(SEGMENT_HEADER..bytes.len())..bytes.len(),
        Damage::Gone => 0..bytes.len(),
    };
    match damage {
        Damage::HeaderBit | Damage::Bit => bytes[range.start] ^= 1 << rng.u8(..8),
        Damage::Block => bytes[range.clone()].fill(0),
        Damage::CutShort => bytes.truncate(range.start),
        Damage::Gone => return remove(path, places),
    }
    fs::write(path, bytes).unwrap();
    let ends = places.iter().skip(1).map(|next| next.at).chain([usize::MAX]).collect::<Vec<_>>();
    let suffers = |(place, end): (Place, usize)| {
        let overlaps = place.at.saturating_sub(FRAME_HEAD) < range.end && range.start < end;
        overlaps.then_some(place)
    };
    places.into_iter().zip(ends).filter_map(suffers).collect()
}

fn at(place: usize) -> Range<usize> {
    place..place + 1
}

fn remove(path: &Path, places: Vec<Place>) -> Vec<Place> {
    fs::remove_file(path).unwrap();
    places
}

/// The events in a segment, found by their bodies' first bytes.
fn places(bytes: &[u8]) -> Vec<Place> {
    const START: &[u8] = br#"{"id":""#;
    let starts = bytes.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    let place = |(at, _)| {
        let id = bytes.get(at + START.len()..)?.split(|byte| *byte == b'"').next()?;
        let number = TestEvent::number_of(std::str::from_utf8(id).ok()?)?;
        Some(Place { number, at })
    };
    starts.filter_map(place).collect()
}

/// Whether an error in the log names the place, or says that the journal's end is missing.
fn is_told(log: &str, segment: u64, at: usize) -> bool {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] == "ERROR");
    errors.any(|line| {
        let number = |name: &str| line[name].as_u64().map(|n| usize::try_from(n).unwrap());
        let here = line["segment"].as_u64() == Some(segment);
        let event = number("offset").is_some_and(|from| {
            (from..from + FRAME_HEAD).contains(&at) && line.get("sequence").is_some()
        });
        let gap = number("from")
            .zip(number("to"))
            .is_some_and(|(from, to)| from < at + FRAME_HEAD && at.saturating_sub(FRAME_HEAD) < to);
        let message = line["message"].as_str().unwrap_or_default();
        (here && (event || gap)) || message.contains("acknowledged events are lost")
    })
}

fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn segment_number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}
