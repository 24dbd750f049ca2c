//! The clock of `strftime_now`: a civil date and time and Python's `strftime` for it.
//! Calendar arithmetic after Howard Hinnant, "chrono-compatible low-level date algorithms".

use minijinja::{Error as JinjaError, ErrorKind};

use crate::error::{Error, Result};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A wall clock reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl LocalTime {
    /// The time that a clock `offset` seconds ahead of UTC shows, `seconds` after 1970 began in UTC.
    pub fn from_unix(seconds: i64, offset: i64) -> Self {
        let local = seconds.saturating_add(offset);
        let (year, month, day) = civil_from_days(local.div_euclid(86_400));
        let rest = local.rem_euclid(86_400) as u32;
        Self {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// The system's clock, in UTC.
    pub fn utc_now() -> Self {
        let now = web_time::SystemTime::now()
            .duration_since(web_time::UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_unix(now.as_secs() as i64, 0)
    }

    /// Reads `2026-07-04T13:05:09` or `2026-07-04`; what follows is ignored.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::InvalidRequest(format!(
                "`{text}` is not a time such as 2026-07-04T13:05:09"
            ))
        };
        let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
        let mut time = Self {
            year: i64::from(number(0..4).ok_or_else(bad)?),
            month: number(5..7).ok_or_else(bad)?,
            day: number(8..10).ok_or_else(bad)?,
            hour: 0,
            minute: 0,
            second: 0,
        };
        if text.len() > 10 {
            time.hour = number(11..13).ok_or_else(bad)?;
            time.minute = number(14..16).ok_or_else(bad)?;
            time.second = number(17..19).unwrap_or(0);
        }
        let valid = (1..=12).contains(&time.month) && (1..=31).contains(&time.day);
        if valid && time.hour < 24 && time.minute < 60 && time.second < 61 {
            Ok(time)
        } else {
            Err(bad())
        }
    }

    /// Python's `datetime.strftime` in the C locale; a directive that is not known is an error.
    pub(super) fn strftime(&self, format: &str) -> Result<String, JinjaError> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next();
            let unpadded = directive == Some('-');
            if unpadded {
                directive = chars.next();
            }
            let field = directive.and_then(|d| self.field(d)).ok_or_else(|| {
                let text =
                    format!("strftime_now: `{format}` has a directive that is not supported");
                JinjaError::new(ErrorKind::InvalidOperation, text)
            })?;
            let digits = field.trim_start_matches(['0', ' ']);
            out.push_str(if !unpadded || digits.is_empty() {
                &field
            } else {
                digits
            });
            if unpadded && digits.is_empty() {
                out.truncate(out.len() + 1 - field.len());
            }
        }
        Ok(out)
    }

    fn field(&self, directive: char) -> Option<String> {
        let weekday = self.weekday();
        let day_name = DAYS[weekday as usize];
        let month_name = MONTHS[self.month as usize - 1];
        let hour12 = (self.hour + 11) % 12 + 1;
        Some(match directive {
            'a' => day_name[..3].to_string(),
            'A' => day_name.to_string(),
            'w' => weekday.to_string(),
            'u' => ((weekday + 6) % 7 + 1).to_string(),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'b' | 'h' => month_name[..3].to_string(),
            'B' => month_name.to_string(),
            'm' => format!("{:02}", self.month),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'Y' => format!("{:04}", self.year),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{hour12:02}"),
            'M' => format!("{:02}", self.minute),
            'S' => format!("{:02}", self.second),
            'f' => "000000".to_string(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'j' => format!("{:03}", self.day_of_year()),
            'U' => format!("{:02}", (self.day_of_year() + 6 - weekday) / 7),
            'W' => format!("{:02}", (self.day_of_year() + 6 - (weekday + 6) % 7) / 7),
            'D' | 'x' => self.strftime("%m/%d/%y").ok()?,
            'F' => self.strftime("%Y-%m-%d").ok()?,
            'T' | 'X' => self.strftime("%H:%M:%S").ok()?,
            'R' => self.strftime("%H:%M").ok()?,
            'c' => self.strftime("%a %b %e %H:%M:%S %Y").ok()?,
            'z' | 'Z' => String::new(),
            'n' => "\n".to_string(),
            't' => "\t".to_string(),
            '%' => "%".to_string(),
            _ => return None,
        })
    }

    /// 0 is Sunday.
    fn weekday(&self) -> u32 {
        (days_from_civil(self.year, self.month, self.day) + 4).rem_euclid(7) as u32
    }

    /// 1 is the first of January.
    fn day_of_year(&self) -> u32 {
        (days_from_civil(self.year, self.month, self.day) - days_from_civil(self.year, 1, 1)) as u32
            + 1
    }
}

fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = ((shifted + 2) % 12 + 1) as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_strftime() {
        // Each expected text is what Python 3 prints for the same date in the C locale.
        let time = LocalTime::parse("2026-07-04T13:05:09 (a Saturday)").unwrap();
        let cases = [
            ("%d %b %Y", "04 Jul 2026"),
            ("%A, %B %-d", "Saturday, July 4"),
            ("%-H:%-M:%-S %I%p %-I", "13:5:9 01PM 1"),
            ("%j %U %W %w %u %y %%", "185 26 26 6 6 26 %"),
            (
                "%c | %x | %X",
                "Sat Jul  4 13:05:09 2026 | 07/04/26 | 13:05:09",
            ),
            ("%F %T %D %R %e", "2026-07-04 13:05:09 07/04/26 13:05  4"),
        ];
        for (format, expected) in cases {
            assert_eq!(time.strftime(format).unwrap(), expected, "{format}");
        }
        assert!(time.strftime("%Q").is_err());
        assert!(time.strftime("%").is_err());
        assert_eq!(
            LocalTime::parse("2026-01-01")
                .unwrap()
                .strftime("%-H %-M %H")
                .unwrap(),
            "0 0 00"
        );
    }

    #[test]
    fn unix_time() {
        let cases = [
            (0, 0, "1970-01-01 00:00:00 Thursday"),
            (951_782_400, 0, "2000-02-29 00:00:00 Tuesday"),
            (1_783_170_309, 0, "2026-07-04 13:05:09 Saturday"),
            (1_783_170_309, -7 * 3600, "2026-07-04 06:05:09 Saturday"),
            (-1, 0, "1969-12-31 23:59:59 Wednesday"),
        ];
        for (seconds, offset, expected) in cases {
            let time = LocalTime::from_unix(seconds, offset);
            assert_eq!(time.strftime("%F %T %A").unwrap(), expected);
        }
    }

    #[test]
    fn bad_times_are_refused() {
        for text in [
            "",
            "today",
            "2026-13-01",
            "2026-00-01",
            "2026-01-01T25:00:00",
            "2026-01-01Tx",
            "äöü",
        ] {
            assert!(LocalTime::parse(text).is_err(), "{text}");
        }
    }
}
