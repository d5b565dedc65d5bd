//! Presets: what a provider is known to send, as data. Each is a TOML fragment whose `[source]`
//! table has the keys of `[source.NAME]`, and whose `[retry]` table says how the provider sends
//! again what was not acknowledged; it only fills in keys that the configuration leaves out. Keys hold here as wholes (an `auth` beside the preset replaces all of the preset's), but
//! for `event`, whose sub-keys are filled in one by one.

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

impl Preset {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::NovaMed,
        Self::C4hxp,
        Self::Nimbus,
        Self::Drx,
        Self::RxScale,
        Self::StandardWebhooks,
        Self::Stripe,
        Self::GitHub,
        Self::Slack,
        Self::Shopify,
    ];

    /// The name, as in `preset = "NAME"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NovaMed => "novamed",
            Self::C4hxp => "c4hxp",
            Self::Nimbus => "nimbus",
            Self::Drx => "drx",
            Self::RxScale => "rxscale",
            Self::StandardWebhooks => "standard-webhooks",
            Self::Stripe => "stripe",
            Self::GitHub => "github",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
        }
    }

    /// The preset of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// Its data: `[source]` and `[retry]`.
    pub fn fragment(self) -> &'static str {
        match self {
            Self::NovaMed => include_str!("presets/novamed.toml"),
            Self::C4hxp => include_str!("presets/c4hxp.toml"),
            Self::Nimbus => include_str!("presets/nimbus.toml"),
            Self::Drx => include_str!("presets/drx.toml"),
            Self::RxScale => include_str!("presets/rxscale.toml"),
            Self::StandardWebhooks => include_str!("presets/standard-webhooks.toml"),
            Self::Stripe => include_str!("presets/stripe.toml"),
            Self::GitHub => include_str!("presets/github.toml"),
            Self::Slack => include_str!("presets/slack.toml"),
            Self::Shopify => include_str!("presets/shopify.toml"),
        }
    }
}
