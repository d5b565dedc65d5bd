//! What is made of signs of life, without any file.

use super::*;
use crate::store::journal::presence::{Log, Presence, encode_presence};

const START: UnixMillis = UnixMillis(1_763_700_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Moment {
    Moment { passed: SECOND * seconds, wall: START.after(SECOND * seconds) }
}

fn wall(seconds: u32) -> UnixMillis {
    at(seconds).wall
}

fn away(from: u32, until: u32, cause: Cause) -> Absence {
    Absence { from: wall(from), until: wall(until), cause }
}

/// The writer turns, and all that it writes has room.
fn turn(signs: &Signs, now: Moment, can: bool) -> Vec<Presence> {
    let frames = signs.look(now, can);
    if !frames.is_empty() {
        signs.wrote(frames.clone(), now);
    }
    frames
}

/// Signs of a gateway that has taken events since `at(0)`, after one that was stopped an hour before.
fn here() -> Signs {
    let last = Some(Sign { at: START.before(SECOND * 3600), stopped: true });
    let since = Some(START.before(SECOND * 9000));
    let signs = Signs::new(Known { since, last, ..Known::default() });
    signs.open(wall(0));
    let from = START.before(SECOND * 3600);
    let absence = Absence { from, until: wall(0), cause: Cause::Stopped };
    let expected = [Presence::Away(absence), Presence::Alive(wall(0))];
    assert_eq!(turn(&signs, at(0), true), expected);
    signs
}

#[test]
fn a_first_start_is_no_absence() {
    let signs = Signs::new(Known::default());
    assert_eq!(turn(&signs, at(0), true), []);
    assert_eq!(signs.known(), Known::default());
    assert_eq!(signs.log(wall(0), SECOND), None);
    signs.open(wall(1));
    let log = Log { since: wall(1), last: wall(1), stopped: false, absences: Vec::new() };
    assert_eq!(turn(&signs, at(2), true), [Presence::Log(log)]);
    assert_eq!((signs.known().since, signs.known().absences), (Some(wall(1)), Vec::new()));
}

#[test]
fn an_absence_ends_when_requests_are_let_in_and_not_when_the_store_opens() {
    let last = Some(Sign { at: wall(0), stopped: false });
    let signs = Signs::new(Known { since: Some(wall(0)), last, ..Known::default() });
    assert_eq!(turn(&signs, at(60), true), []);
    assert_eq!(signs.known().away, Some((wall(0), Cause::Crashed)));
    signs.open(wall(61));
    assert_eq!(turn(&signs, at(62), true)[0], Presence::Away(away(0, 61, Cause::Crashed)));
    assert_eq!(signs.known().away, None);
}

#[test]
fn a_sign_of_life_is_written_when_nothing_else_has_been_for_a_while() {
    let signs = here();
    for seconds in 1..10 {
        assert_eq!(turn(&signs, at(seconds), true), [], "{seconds}");
    }
    assert_eq!(turn(&signs, at(10), true), [Presence::Alive(wall(10))]);
    assert_eq!(turn(&signs, at(15), true), []);
    signs.event(at(15));
    assert_eq!(turn(&signs, at(24), true), []);
    assert_eq!(turn(&signs, at(25), true), [Presence::Alive(wall(25))]);
}

#[test]
fn a_journal_that_takes_nothing_for_a_while_is_an_absence_that_ends_by_itself() {
    let signs = here();
    assert_eq!(turn(&signs, at(5), true), []);
    assert_eq!(turn(&signs, at(6), false), []);
    assert_eq!(signs.known().away, Some((wall(5), Cause::Unwritable)));
    assert_eq!(turn(&signs, at(300), false), []);
    let back = [Presence::Away(away(5, 301, Cause::Unwritable)), Presence::Alive(wall(301))];
    assert_eq!(turn(&signs, at(301), true), back);
    assert_eq!(signs.known().absences.last(), Some(&away(5, 301, Cause::Unwritable)));
}

#[test]
fn a_sign_of_life_that_finds_no_room_is_left_out_and_begins_an_absence() {
    let signs = here();
    for seconds in 1..10 {
        turn(&signs, at(seconds), true);
    }
    assert_eq!(signs.look(at(10), true), [Presence::Alive(wall(10))]);
    signs.left_out(at(10));
    // Since the last one that was written, nobody knows whether there was room.
    assert_eq!(signs.known().away, Some((wall(0), Cause::Unwritable)));
    assert_eq!(turn(&signs, Moment { passed: SECOND * 21 / 2, ..at(10) }, true), []);
    let back = [Presence::Away(away(0, 11, Cause::Unwritable)), Presence::Alive(wall(11))];
    assert_eq!(turn(&signs, at(11), true), back);
}

#[test]
fn a_writer_that_stands_still_is_an_absence_and_a_clock_that_jumps_a_doubtful_one() {
    let signs = here();
    assert_eq!(turn(&signs, at(9), true), []);
    let stalled = turn(&signs, at(60), true);
    assert_eq!(stalled[0], Presence::Away(away(9, 60, Cause::Unwritable)));
    let jumped = Moment { passed: SECOND * 61, wall: wall(7000) };
    let doubtful = Presence::Away(away(60, 7000, Cause::Unknown));
    assert_eq!(turn(&signs, jumped, true), [doubtful, Presence::Alive(wall(7000))]);
    // Set right again: what passed is known, and nothing is missing.
    assert_eq!(turn(&signs, at(62), true), []);
    assert_eq!(turn(&signs, at(71), true), [Presence::Alive(wall(71))]);
    // A stall during which it is set back.
    let back = Moment { passed: SECOND * 100, wall: wall(10) };
    assert_eq!(turn(&signs, back, true)[0], Presence::Away(away(10, 10, Cause::Unknown)));
}

#[test]
fn a_clock_that_was_set_back_before_a_start_gives_an_absence_without_a_length() {
    let last = Some(Sign { at: wall(9000), stopped: true });
    let signs = Signs::new(Known { since: Some(wall(0)), last, ..Known::default() });
    signs.open(wall(60));
    assert_eq!(turn(&signs, at(61), true)[0], Presence::Away(away(60, 60, Cause::Unknown)));
}

#[test]
fn a_stop_is_told_from_when_nobody_was_let_in_any_more() {
    let signs = here();
    turn(&signs, at(3), true);
    signs.shut(wall(4));
    assert_eq!(turn(&signs, at(6), true), []);
    assert_eq!(signs.closing(at(9)), [Presence::Stopped(wall(4))]);
    // In a hurry, without a turn of the writer in between.
    let signs = here();
    signs.shut(wall(4));
    assert_eq!(signs.closing(at(9)), [Presence::Stopped(wall(4))]);
    // While the journal takes nothing but this.
    let signs = here();
    turn(&signs, at(3), false);
    signs.shut(wall(20));
    let both = [Presence::Away(away(0, 20, Cause::Unwritable)), Presence::Stopped(wall(20))];
    assert_eq!(signs.closing(at(21)), both);
    // Before anybody was let in nothing is added to what is known.
    let last = Some(Sign { at: wall(0), stopped: false });
    let signs = Signs::new(Known { since: Some(wall(0)), last, ..Known::default() });
    assert_eq!(signs.closing(at(9)), []);
}

#[test]
fn a_log_tells_all_that_is_known_and_forgets_what_is_past_the_retention() {
    let signs = here();
    let absences = signs.known().absences;
    let log = |now| signs.log(now, SECOND * 500).unwrap();
    assert_eq!((log(wall(30)).absences, log(wall(30)).last), (absences, wall(30)));
    assert_eq!(log(wall(501)).absences, []);
    signs.shut(wall(502));
    turn(&signs, at(503), true);
    assert_eq!((log(wall(504)).last, log(wall(504)).stopped), (wall(502), true));
}

fn read(reader: &mut Reader, presence: &Presence) {
    let mut bytes = Vec::new();
    encode_presence(presence, &mut bytes);
    reader.presence(&bytes);
}

fn reader(presences: &[Presence]) -> Reader {
    let mut reader = Reader::default();
    presences.iter().for_each(|presence| read(&mut reader, presence));
    reader
}

fn log(last: u32, stopped: bool, absences: &[Absence]) -> Presence {
    Presence::Log(Log { since: wall(0), last: wall(last), stopped, absences: absences.to_vec() })
}

#[test]
fn the_last_sign_of_life_is_the_last_that_was_written() {
    let last = |presences: &[Presence]| reader(presences).known().0.last.unwrap();
    let sign = |seconds, stopped| Sign { at: wall(seconds), stopped };
    let (log, alive) = (log(5, true, &[]), |seconds| Presence::Alive(wall(seconds)));
    assert_eq!(last(std::slice::from_ref(&log)), sign(5, true));
    let came = Presence::Away(away(5, 90, Cause::Stopped));
    assert_eq!(last(&[log.clone(), came, alive(90)]), sign(90, false));
    assert_eq!(last(&[log.clone(), alive(90), Presence::Stopped(wall(95))]), sign(95, true));
    // Written a little later than it came, and after the clock was set back.
    assert_eq!(last(&[log.clone(), alive(90), alive(87)]), sign(90, false));
    assert_eq!(last(&[log.clone(), alive(9000), alive(87)]), sign(87, false));
    // An event is a sign too.
    let mut reader = reader(&[log, alive(90)]);
    reader.event(wall(97));
    assert_eq!(reader.known().0.last, Some(sign(97, false)));
}

#[test]
fn damage_between_signs_that_are_far_apart_is_a_doubtful_absence() {
    for (next, doubtful) in [(60, vec![]), (200, vec![away(50, 200, Cause::Unknown)])] {
        let mut reader = reader(&[log(0, false, &[]), Presence::Alive(wall(50))]);
        reader.damage();
        read(&mut reader, &Presence::Alive(wall(next)));
        assert_eq!(reader.known().0.absences, doubtful);
    }
    // What the damage hides may be all but the absence itself.
    let mut reader = reader(&[log(0, false, &[])]);
    reader.damage();
    read(&mut reader, &Presence::Away(away(100, 300, Cause::Crashed)));
    let expected = [away(0, 100, Cause::Unknown), away(100, 300, Cause::Crashed)];
    assert_eq!(reader.known().0.absences, expected);
}

#[test]
fn without_what_a_segment_opens_with_older_ones_tell() {
    let first = away(10, 20, Cause::Stopped);
    let second = away(400, 500, Cause::Crashed);
    let before = reader(&[log(30, false, &[first]), Presence::Alive(wall(40))]);
    let mut damaged = Reader::default();
    damaged.damage();
    read(&mut damaged, &Presence::Away(second));
    read(&mut damaged, &Presence::Alive(wall(500)));
    assert!(!damaged.is_whole());
    let (known, lost) = damaged.clone().behind(before).known();
    assert_eq!(known.absences, [first, away(40, 400, Cause::Unknown), second]);
    assert_eq!((known.since, known.last.unwrap().at, lost), (Some(wall(0)), wall(500), false));
    // Where there is none, that is told.
    let (known, lost) = damaged.behind(Reader::default()).known();
    assert!(lost && known.since.is_some(), "{known:?}");
    // A journal from before there were any.
    let mut old = Reader::default();
    old.event(wall(5));
    assert!(old.is_whole());
    assert_eq!(old.known(), (Known::default(), false));
}

#[test]
fn beyond_the_bound_the_nearest_become_one() {
    let mut absences = Vec::new();
    let count = u32::try_from(MAX_ABSENCES).unwrap();
    for n in 0..count {
        add(&mut absences, away(n * 100, n * 100 + 10, Cause::Stopped));
    }
    add(&mut absences, away(count * 100 - 50, count * 100, Cause::Crashed));
    assert_eq!(absences.len(), MAX_ABSENCES);
    let merged = away((count - 1) * 100, count * 100, Cause::Crashed);
    assert_eq!(absences.last(), Some(&merged));
    assert_eq!(absences[0], away(0, 10, Cause::Stopped));
}
