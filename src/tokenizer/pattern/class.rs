//! Sets of characters as regular expressions write them: `[^\r\n\p{L}\p{N}]`.

use unicode_general_category::{GeneralCategory, get_general_category};

/// A set of characters. ASCII is looked up in a bitmap, the rest is tested part by part.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    ascii: u128,
    negated: bool,
    ranges: Vec<(char, char)>,
    categories: u32,
    space: bool,
    not_space: bool,
}

impl Class {
    /// Whether the set has this character.
    pub fn has(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii >> (c as u32) & 1 == 1;
        }
        self.holds(c) != self.negated
    }

    pub fn add_range(&mut self, first: char, last: char) {
        self.ranges.push((first, last));
    }

    /// Adds `\s` or `\S`.
    pub fn add_space(&mut self, inside: bool) {
        if inside {
            self.space = true;
        } else {
            self.not_space = true;
        }
    }

    /// Adds `\p{name}`; tells whether the name is known.
    pub fn add_category(&mut self, name: &str) -> bool {
        let mask = category_mask(name);
        self.categories |= mask;
        mask != 0
    }

    /// Ends the building of a set; must be called before [`Class::has`].
    pub fn finish(mut self, negated: bool) -> Self {
        self.negated = negated;
        let bits = (0u8..128).filter(|&c| self.holds(char::from(c)) != negated);
        self.ascii = bits.fold(0, |bits, c| bits | 1 << c);
        self
    }

    fn holds(&self, c: char) -> bool {
        (self.space && c.is_whitespace())
            || (self.not_space && !c.is_whitespace())
            || self
                .ranges
                .iter()
                .any(|&(first, last)| first <= c && c <= last)
            || (self.categories != 0
                && self.categories & 1 << category_bit(get_general_category(c)) != 0)
    }
}

/// The bits of a category such as `Lu`, or of a group such as `L`.
fn category_mask(name: &str) -> u32 {
    let all = (0u32..32).filter(|&bit| match NAMES.get(bit as usize) {
        Some(category) => category.starts_with(name) && !name.is_empty(),
        None => false,
    });
    all.fold(0, |mask, bit| mask | 1 << bit)
}

/// Two-letter names, in the order of [`category_bit`].
const NAMES: [&str; 30] = [
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
    "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
];

fn category_bit(category: GeneralCategory) -> u32 {
    use GeneralCategory as G;
    match category {
        G::UppercaseLetter => 0,
        G::LowercaseLetter => 1,
        G::TitlecaseLetter => 2,
        G::ModifierLetter => 3,
        G::OtherLetter => 4,
        G::NonspacingMark => 5,
        G::SpacingMark => 6,
        G::EnclosingMark => 7,
        G::DecimalNumber => 8,
        G::LetterNumber => 9,
        G::OtherNumber => 10,
        G::ConnectorPunctuation => 11,
        G::DashPunctuation => 12,
        G::OpenPunctuation => 13,
        G::ClosePunctuation => 14,
        G::InitialPunctuation => 15,
        G::FinalPunctuation => 16,
        G::OtherPunctuation => 17,
        G::MathSymbol => 18,
        G::CurrencySymbol => 19,
        G::ModifierSymbol => 20,
        G::OtherSymbol => 21,
        G::SpaceSeparator => 22,
        G::LineSeparator => 23,
        G::ParagraphSeparator => 24,
        G::Control => 25,
        G::Format => 26,
        G::Surrogate => 27,
        G::PrivateUse => 28,
        _ => 29,
    }
}
