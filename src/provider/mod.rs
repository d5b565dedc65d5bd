//! What each provider sends: presets as data, sample events, and how each signs.

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
