//! What each provider sends: presets as data, sample events, and how each signs.

pub mod caller;
pub mod generic;
pub mod sample;
pub mod sign;

/// A preset's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// NovaMed
    NovaMed,
    /// C4HXP
    C4hxp,
    /// Nimbus OS
    Nimbus,
    /// DRX
    Drx,
    /// RxScale
    RxScale,
    /// Any sender of the Standard Webhooks scheme.
    StandardWebhooks,
    /// Stripe
    Stripe,
    /// GitHub
    GitHub,
    /// Slack
    Slack,
    /// Shopify
    Shopify,
}
