//! Operators' acts on the writer's way: decided when their batch is put together, taken over once it is on
//! stable storage. They share its write and its sync.

use std::sync::mpsc::SyncSender;

use super::Writer;
use crate::event::Sequence;
use crate::store::act::{Answer, Decided, Decision};
use crate::store::journal::act;
use crate::store::journal::frame::Kind;
use crate::store::journal::segment::Place;
use crate::store::query::Acted;
use crate::store::queue::{Acting, Work};

/// An act of the current batch: written, and not yet taken over.
pub(super) struct WrittenAct {
    sequence: Sequence,
    place: Place,
    decided: Decided,
    answer: SyncSender<Answer>,
}

/// What operators ask for.
pub(super) struct Asked {
    pub(super) acts: Vec<(Decided, SyncSender<Answer>)>,
    pub(super) looks: Vec<SyncSender<()>>,
}

impl Writer {
    /// Whether acts can be done as they were planned. Whoever planned one that cannot is told at once.
    pub(super) fn decide_acts(&self, work: &mut Work) -> Asked {
        let mut asked = Asked { acts: Vec::new(), looks: Vec::new() };
        for acting in work.acts.drain(..) {
            match acting {
                Acting::Look(done) => asked.looks.push(done),
                Acting::Do(planned, answer) => {
                    match Decided::decide(&self.core, *planned, &mut work.notes) {
                        Decision::Do(decided) => asked.acts.push((decided, answer)),
                        Decision::Say(said) => {
                            let _ = answer.try_send(said);
                        }
                    }
                }
            }
        }
        asked
    }

    pub(super) fn add_acts(&mut self, acts: Vec<(Decided, SyncSender<Answer>)>) -> Vec<WrittenAct> {
        let mut written = Vec::with_capacity(acts.len());
        for (decided, answer) in acts {
            let start = self.batch.push(self.next, Kind::Act, |out| {
                act::encode_act(&decided.record(), out);
            });
            let offset = self.head.offset.saturating_add(start);
            let place = Place { segment: self.head.header.number, offset };
            written.push(WrittenAct { sequence: self.next, place, decided, answer });
            self.next = Sequence(self.next.0 + 1);
        }
        written
    }

    /// The lanes take durable acts over. Who waits for them is told by [`tell_acts`], once the catalogue
    /// knows of them, too.
    pub(super) fn publish_acts(&self, acts: Vec<WrittenAct>) -> Vec<(SyncSender<Answer>, Acted)> {
        let mut answers = Vec::with_capacity(acts.len());
        for WrittenAct { sequence, place, decided, answer } in acts {
            let acted = decided.take_over(&self.core);
            let (id, segment, offset) = (acted.id, place.segment, place.offset);
            tracing::debug!(target: "hookward::store", %id, %sequence, segment, offset, "an act is written");
            answers.push((answer, acted));
        }
        answers
    }
}

/// Tells who waits for acts that they are done.
pub(super) fn tell_acts(answers: Vec<(SyncSender<Answer>, Acted)>) {
    for (answer, acted) in answers {
        // Who no longer waits need not know.
        let _ = answer.try_send(Answer::Done(acted));
    }
}
