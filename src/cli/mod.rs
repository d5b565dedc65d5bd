//! To come.

pub mod check;
pub mod demo;
pub mod init;
mod seam;
pub mod send;
