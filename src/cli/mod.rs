//! To come.

pub mod demo;
mod seam;
pub mod send;
