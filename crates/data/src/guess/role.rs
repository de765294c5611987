//! What the columns of a log mean: user, item, time, domain, label.
//!
//! Names decide first; in each list of words below an earlier word goes before a later one. What names leave open, contents decide:
//!
//! - time: numbers that are dates from 1990 to 2040 in one unit, or text in one spelling of dates; of several columns the finest;
//! - label: two values 0 and 1 (or true and false), else 3 to 21 levels of numbers; a column named like a click may hold any two values;
//! - user and item: the first two of the other columns whose values repeat and are no fractions; a table of users or items that has the values of one of
//!   them settles which is which;
//! - domain: only by name, with 2 to 64 values of which two have a hundredth of the rows each.

mod label;

use super::column::{Clock, Kind, Profile};
use crate::Side;

/// Words for a user, most telling first. A trailing `id`, `key`, `nr` and the like does not count.
const USERS: [&str; 24] = [
    "user",
    "u",
    "uid",
    "customer",
    "client",
    "member",
    "visitor",
    "reviewer",
    "account",
    "person",
    "buyer",
    "viewer",
    "listener",
    "reader",
    "player",
    "student",
    "patient",
    "subscriber",
    "shopper",
    "guest",
    "nutzer",
    "benutzer",
    "kunde",
    "kunden",
];
/// Words for an item.
const ITEMS: [&str; 43] = [
    "item",
    "i",
    "iid",
    "product",
    "movie",
    "film",
    "isbn",
    "asin",
    "video",
    "news",
    "article",
    "business",
    "book",
    "song",
    "track",
    "artist",
    "album",
    "game",
    "app",
    "sku",
    "ad",
    "listing",
    "hotel",
    "restaurant",
    "recipe",
    "course",
    "job",
    "post",
    "page",
    "photo",
    "image",
    "offer",
    "show",
    "episode",
    "content",
    "document",
    "goods",
    "venue",
    "poi",
    "music",
    "anime",
    "artikel",
    "produkt",
];
/// Words for a time. One of them among the words of a name is enough.
const TIMES: [&str; 14] =
    ["timestamp", "time", "datetime", "date", "ts", "unixtime", "when", "at", "day", "created", "zeitpunkt", "zeit", "datum", "uhrzeit"];
/// Words for a domain.
const DOMAINS: [&str; 22] = [
    "domain",
    "shop",
    "store",
    "tab",
    "site",
    "market",
    "marketplace",
    "scenario",
    "scene",
    "channel",
    "vertical",
    "platform",
    "section",
    "country",
    "category",
    "department",
    "region",
    "filiale",
    "laden",
    "kanal",
    "land",
    "kategorie",
];
/// Words for a rating.
const RATINGS: [&str; 9] = ["rating", "ratings", "stars", "star", "score", "grade", "bewertung", "sterne", "overall"];
/// Words for something that happened or not.
const CLICKS: [&str; 24] = [
    "click",
    "clicked",
    "clicks",
    "label",
    "target",
    "purchase",
    "purchased",
    "bought",
    "buy",
    "order",
    "ordered",
    "conversion",
    "converted",
    "like",
    "liked",
    "favorite",
    "watched",
    "interaction",
    "response",
    "y",
    "klick",
    "geklickt",
    "gekauft",
    "kauf",
];
/// Words for what is known only afterwards and is no label here: how often, how long, how it ended.
const OUTCOMES: [&str; 26] = [
    "event",
    "action",
    "behavior",
    "behaviour",
    "play",
    "plays",
    "playtime",
    "listen",
    "dwell",
    "duration",
    "watch",
    "view",
    "views",
    "count",
    "weight",
    "quantity",
    "qty",
    "amount",
    "share",
    "comment",
    "follow",
    "forward",
    "hate",
    "feedback",
    "outcome",
    "result",
];
/// Words that make a rating a number about an item or user: an average rating, a number of ratings.
const SUMMARIES: [&str; 8] = ["avg", "average", "mean", "count", "num", "number", "total", "n"];
/// Words for a division into parts.
const SPLITS: [&str; 6] = ["split", "fold", "partition", "subset", "set", "part"];
/// Endings of a name that only say that it is an id.
const ENDINGS: [&str; 12] = ["ids", "id", "key", "number", "nummer", "num", "nr", "no", "idx", "index", "hash", "code"];

/// The words of a column's name in small letters: `User-ID`, `userId` and `user_id` are all `user`, `id`. What follows a colon is a type.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in name.split(':').next().unwrap_or_default().chars() {
        let starts = c.is_uppercase() && before.is_lowercase();
        if !c.is_alphanumeric() || starts {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The name without what only says that it is an id.
fn stem(name: &str) -> String {
    let whole = words(name).concat();
    let ending = ENDINGS.iter().find(|&&ending| whole.len() > ending.len() && whole.ends_with(ending));
    ending.map_or(whole.clone(), |ending| whole[..whole.len() - ending.len()].to_owned())
}

/// The place of a name's stem, or of the whole name, in a list.
fn place(list: &[&str], name: &str) -> Option<usize> {
    let (stem, whole) = (stem(name), words(name).concat());
    list.iter().position(|&word| word == stem || word == whole)
}

/// The place of the most telling word of a name in a list.
fn word_place(list: &[&str], name: &str) -> Option<usize> {
    words(name).iter().filter_map(|word| list.iter().position(|known| known == word)).min()
}

/// Whether a name says what its column means in a log.
pub(super) fn is_known(name: &str) -> bool {
    [&USERS[..], &ITEMS, &DOMAINS].iter().any(|list| place(list, name).is_some())
        || [&TIMES[..], &RATINGS, &CLICKS].iter().any(|list| word_place(list, name).is_some())
}

/// Whether a name says that its column divides the log into parts.
pub(super) fn is_split(name: &str) -> bool {
    word_place(&SPLITS, name).is_some()
}

/// Whether a name says that its column is known only after the interaction.
pub(super) fn is_outcome(name: &str) -> bool {
    let lists = [&OUTCOMES[..], &CLICKS, &RATINGS];
    lists.iter().any(|list| word_place(list, name).is_some())
}

/// Whether a name says that its numbers are codes.
pub(super) fn is_code(name: &str) -> bool {
    let words = words(name);
    let last = words.last().map_or("", String::as_str);
    let is_id = ENDINGS.contains(&last) && last != "number" && last != "num";
    is_id
        || ["zip", "zipcode", "postcode", "plz", "type", "cluster", "segment"].contains(&last)
        || words.iter().any(|word| word == "onehot")
}

/// Whether a name says that its column holds dates.
pub(super) fn is_time(name: &str) -> bool {
    word_place(&TIMES, name).is_some()
        || word_place(&["released", "release", "birthday", "upload", "dt", "since", "joined"], name).is_some()
}

/// The columns of a log by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Roles {
    pub(super) user: usize,
    pub(super) item: usize,
    pub(super) time: Option<usize>,
    pub(super) domain: Option<usize>,
    pub(super) label: Option<Label>,
    /// The value of a click that counts as 1, where the column does not hold 0 and 1.
    pub(super) positive: Option<String>,
    /// Other columns that could be the label.
    pub(super) other_labels: Vec<usize>,
    /// A column that divides the log into parts.
    pub(super) split: Option<usize>,
    /// What was decided without a name, or against another column that would do.
    pub(super) doubts: Vec<String>,
}

/// The label's column and meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Label {
    Click(usize),
    Rating { column: usize, min: f64, max: f64 },
}

impl Label {
    pub(super) fn column(self) -> usize {
        match self {
            Self::Click(column) | Self::Rating { column, .. } => column,
        }
    }
}

/// Ratings as they are usually given, most usual first among those of equal width.
const RANGES: [[f64; 2]; 9] =
    [[1.0, 5.0], [0.5, 5.0], [0.0, 5.0], [1.0, 7.0], [1.0, 10.0], [0.0, 10.0], [-10.0, 10.0], [1.0, 100.0], [0.0, 100.0]];

/// The smallest usual range that holds all ratings; else whole numbers around them.
pub(super) fn usual_range([min, max]: [f64; 2]) -> [f64; 2] {
    RANGES.into_iter().find(|[low, high]| *low <= min && max <= *high).unwrap_or([min.floor(), max.ceil()])
}

/// What is known of a log besides its columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// Whether numbers may have a decimal comma.
    pub(super) decimal_comma: bool,
    /// Whether the columns' names mean nothing, because the files have no header.
    pub(super) is_nameless: bool,
    /// For each column, the kind of table that has its values as keys.
    pub(super) keys: &'a [Option<Side>],
}

/// Tells what the columns mean; `None` where there are not two columns for user and item.
pub(super) fn roles(columns: &[Profile], context: Context<'_>) -> Option<Roles> {
    let mut found = Search { columns, context, taken: vec![false; columns.len()], doubts: Vec::new() };
    let split = found.split();
    let time = found.time();
    let [user, item] = found.ids()?;
    let (label, other_labels) = found.label();
    let positive = label.and_then(|label| found.positive(label));
    let domain = found.domain();
    Some(Roles { user, item, time, domain, label, positive, other_labels, split, doubts: found.doubts })
}

struct Search<'a> {
    columns: &'a [Profile],
    context: Context<'a>,
    taken: Vec<bool>,
    doubts: Vec<String>,
}

impl Search<'_> {
    fn name(&self, column: usize) -> &str {
        &self.columns[column].name
    }

    fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|&c| format!("`{}`", self.name(c))).collect::<Vec<_>>().join(", ")
    }

    fn kind(&self, column: usize) -> Kind {
        self.columns[column].kind(self.context.decimal_comma)
    }

    /// Columns without a meaning yet that have at least two values.
    fn free(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|&c| !self.taken[c] && self.columns[c].distinct.count() > 1 && !self.columns[c].counts_rows())
    }

    fn take(&mut self, column: usize) -> usize {
        self.taken[column] = true;
        column
    }

    fn split(&mut self) -> Option<usize> {
        let divides = |c: &usize| {
            let levels = self.columns[*c].levels();
            let has = |word: &str| levels.is_some_and(|levels| levels.keys().any(|level| words(level).iter().any(|w| w == word)));
            let few = levels.is_some_and(|levels| levels.len() <= 16) && self.kind(*c) == Kind::Text;
            few && (is_split(self.name(*c)) || has("train")) && (has("train") || has("training"))
        };
        let column = self.free().find(divides)?;
        Some(self.take(column))
    }

    fn time(&mut self) -> Option<usize> {
        let distinct = |c: &usize| self.columns[*c].distinct.count();
        let is_named = |c: &usize| word_place(&TIMES, self.name(*c)).is_some();
        let other = |c: &usize| [&USERS[..], &ITEMS].iter().any(|list| place(list, self.name(*c)).is_some()) || is_code(self.name(*c));
        let dated: Vec<usize> = self.free().filter(|&c| self.columns[c].time().is_some() && !other(&c)).collect();
        // The first of the finest.
        let finest = |columns: &[usize]| columns.iter().copied().rev().max_by_key(distinct);
        let named: Vec<usize> = dated.iter().copied().filter(is_named).collect();
        let counts =
            |c: &usize| place(&TIMES, self.name(*c)).is_some() && self.columns[*c].is_whole() && self.columns[*c].range()[0] >= 0.0;
        let column = match finest(&named) {
            Some(column) => column,
            None => match finest(&dated) {
                Some(column) => {
                    let doubt = format!("time is taken from column `{}`, because it holds dates", self.name(column));
                    self.doubts.push(doubt);
                    column
                }
                None => {
                    let column = self.free().find(counts)?;
                    let doubt = format!(
                        "the numbers of `{}` are no dates; they are read as seconds, so that their order counts",
                        self.name(column)
                    );
                    self.doubts.push(doubt);
                    column
                }
            },
        };
        if let Some(time) = self.columns[column].time().filter(|time| time.is_ambiguous) {
            let doubt = format!(
                "day and month of `{}` could be the other way round; what spans less time was taken ({})",
                self.name(column),
                if let Clock::Format(format) = time.clock { format } else { "as numbers" }
            );
            self.doubts.push(doubt);
        }
        Some(self.take(column))
    }

    /// User and item.
    fn ids(&mut self) -> Option<[usize; 2]> {
        let user = self.id_by_name(&USERS, "user").or_else(|| self.id_by_key(Side::User));
        let item = self.id_by_name(&ITEMS, "item").or_else(|| self.id_by_key(Side::Item));
        let (user, item) = match (user, item) {
            (Some(user), Some(item)) => (user, item),
            (Some(user), None) => (user, self.id_by_content(1, "item")?[0]),
            (None, Some(item)) => (self.id_by_content(1, "user")?[0], item),
            (None, None) => {
                let both = self.id_by_content(2, "user and item")?;
                (both[0], both[1])
            }
        };
        Some([user, item])
    }

    fn id_by_name(&mut self, list: &[&str], role: &str) -> Option<usize> {
        if self.context.is_nameless {
            return None;
        }
        let mut named: Vec<(usize, usize)> = self.free().filter_map(|c| Some((place(list, self.name(c))?, c))).collect();
        // Of columns of one name, such as `user_id` and `user_key`, the one that tells more apart.
        named.sort_by_key(|&(place, c)| (place, std::cmp::Reverse(self.columns[c].distinct.count()), c));
        let &(first, column) = named.first()?;
        let alike: Vec<usize> = named[1..].iter().filter(|(place, _)| *place == first).map(|&(_, c)| c).collect();
        if !alike.is_empty() {
            let doubt = format!("{role} is taken from `{}`, which tells more apart than {}", self.name(column), self.names(&alike));
            self.doubts.push(doubt);
        }
        Some(self.take(column))
    }

    fn id_by_key(&mut self, side: Side) -> Option<usize> {
        let column = self.free().find(|&c| self.context.keys[c] == Some(side))?;
        Some(self.take(column))
    }

    /// The first columns that look like ids.
    fn id_by_content(&mut self, wanted: usize, role: &str) -> Option<Vec<usize>> {
        let is_label = |c: usize| self.rank_of_label(c).is_some();
        let mut ids: Vec<usize> = self.free().filter(|&c| self.is_id(c) && (self.context.is_nameless || !is_label(c))).collect();
        ids.sort_by_key(|&c| {
            let profile = &self.columns[c];
            let repeats = profile.distinct.repeats(profile.values) > 0;
            (is_label(c), !repeats, std::cmp::Reverse(profile.distinct.count()), c)
        });
        ids.truncate(wanted);
        ids.sort_unstable();
        if ids.len() < wanted {
            return None;
        }
        let doubt = format!("{role} {} told by their values: {}", if wanted == 1 { "is" } else { "are" }, self.names(&ids));
        self.doubts.push(doubt);
        Some(ids.into_iter().map(|c| self.take(c)).collect())
    }

    fn is_id(&self, column: usize) -> bool {
        match self.kind(column) {
            Kind::Text => true,
            Kind::Number => self.columns[column].is_whole(),
            _ => false,
        }
    }

    fn domain(&mut self) -> Option<usize> {
        let several = |c: &usize| {
            let Some(levels) = self.columns[*c].levels() else { return false };
            let rows = self.columns[*c].values;
            (2..=64).contains(&levels.len()) && levels.values().filter(|&&n| n * 100 >= rows).count() > 1
        };
        let named = self.free().filter(several).filter_map(|c| Some((place(&DOMAINS, self.name(c))?, c)));
        let (_, column) = named.filter(|_| !self.context.is_nameless).min()?;
        Some(self.take(column))
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::tests::column;
    use super::*;

    /// A table as comma-separated text with a header; each row twice, so that ids repeat.
    fn table(text: &str) -> Vec<Profile> {
        let rows: Vec<Vec<&str>> = text.split_whitespace().map(|line| line.split(',').collect()).collect();
        let below = |i: usize| rows[1..].iter().chain(&rows[1..]).map(move |row| row[i]);
        rows[0].iter().enumerate().map(|(i, &name)| column(name, below(i))).collect()
    }

    fn found(text: &str, is_nameless: bool) -> String {
        let columns = table(text);
        let keys = vec![None; columns.len()];
        let Some(roles) = roles(&columns, Context { decimal_comma: false, is_nameless, keys: &keys }) else { return "none".into() };
        let name = |column: usize| columns[column].name.clone();
        let mut words = vec![format!("user={} item={}", name(roles.user), name(roles.item))];
        words.extend(roles.time.map(|c| format!("time={}", name(c))));
        words.extend(roles.domain.map(|c| format!("domain={}", name(c))));
        words.extend(roles.split.map(|c| format!("split={}", name(c))));
        words.extend(roles.label.map(|label| match label {
            Label::Click(c) => format!("click={}", name(c)),
            Label::Rating { column, min, max } => format!("rating={} {min}..{max}", name(column)),
        }));
        words.join(" ")
    }

    #[test]
    fn a_click_may_be_written_in_two_other_values() {
        let label = |values: [&str; 4]| {
            let rows: String = values.iter().zip(1..).map(|(value, i)| format!(" u{},i{},{value}", i % 2, i % 3)).collect();
            let columns = table(&format!("user,item,clicked{rows}"));
            let keys = vec![None; columns.len()];
            let roles = roles(&columns, Context { decimal_comma: false, is_nameless: false, keys: &keys }).unwrap();
            (roles.label.map(Label::column), roles.positive, roles.doubts.concat())
        };
        for (values, positive) in [
            (["yes", "no", "no", "yes"], Some("yes")),
            (["J", "N", "N", "N"], Some("J")),
            (["-1", "1", "-1", "1"], Some("1")),
            (["1", "2", "1", "1"], Some("2")),
            (["purchase", "view", "view", "view"], Some("purchase")),
            (["0", "1", "1", "0"], None),
            (["TRUE", "FALSE", "TRUE", "TRUE"], None),
        ] {
            let (column, found, doubts) = label(values);
            assert_eq!((column, found.as_deref()), (Some(2), positive), "{values:?}");
            assert_eq!(doubts.contains("counts as a click"), positive.is_some(), "{doubts}");
        }
        let (column, positive, doubts) = label(["0", "0", "0", "0"]);
        assert!(column == Some(2) && positive.is_none() && doubts.contains("every `clicked` is 0"), "{doubts}");
        let (column, _, doubts) = label(["view", "cart", "buy", "view"]);
        assert!(column.is_none() && doubts.contains("`clicked` holds buy, cart, view, and every row is taken for a positive"), "{doubts}");
    }

    #[test]
    fn names_decide() {
        for (text, expected) in [
            (
                "user_id,movie_id,rating,timestamp 1,7,3.5,978300760 2,8,5,978300761 3,7,0.5,978300762",
                "user=user_id item=movie_id time=timestamp rating=rating 0.5..5",
            ),
            ("\u{feff}x,User-ID,ISBN,Book-Rating 1,7,a,0 1,8,b,5 2,9,c,8", "user=User-ID item=ISBN rating=Book-Rating 0..10"),
            (
                "reviewerID,asin,overall,unixReviewTime,reviewTime A,x,5,1389657600,20140114 B,y,2,1389657700,20140114 C,z,1,1389657900,20140114",
                "user=reviewerID item=asin time=unixReviewTime rating=overall 1..5",
            ),
            ("user_id:token,item_id:token,label:float 1,5,1 2,6,0 3,7,1", "user=user_id:token item=item_id:token click=label:float"),
            (
                "timestamp,visitorid,event,itemid 1433221332117,257597,view,355908 1433224214164,992329,buy,248676 1433221999827,111016,view,318965",
                "user=visitorid item=itemid time=timestamp",
            ),
            (
                "user_id,video_id,date,time_ms,is_click,is_like,tab 1,5,20220425,1650812741436,1,0,1 2,6,20220425,1650812741437,0,1,0 3,7,20220426,1650899141437,0,0,1",
                "user=user_id item=video_id time=time_ms domain=tab click=is_click",
            ),
            (
                "Kunde,Artikel,Zeitpunkt,gekauft 1,5,2022-04-25,TRUE 2,6,2022-04-26,FALSE 3,5,2022-04-27,TRUE",
                "user=Kunde item=Artikel time=Zeitpunkt click=gekauft",
            ),
            ("user,item,avg_rating,stars 1,5,4.2,4 2,6,3.9,3 3,7,4.4,5", "user=user item=item rating=stars 1..5"),
            ("user,item,plays 1,5,12 2,6,1 3,7,100", "user=user item=item"),
            ("user,item,bought 1,5,1 2,6,1 3,7,1", "user=user item=item"),
            ("split,user_key,user_id,item_id train,c1,1,5 test,g1,1,6 valid,c2,2,7", "user=user_key item=item_id split=split"),
            ("user,product,store 1,5,north 2,6,south 3,7,north", "user=user item=product domain=store"),
            ("user,item,time 1,5,0 2,6,1 3,5,9", "user=user item=item time=time"),
        ] {
            assert_eq!(found(text, false), expected, "{text}");
        }
    }

    #[test]
    fn contents_decide_where_names_do_not() {
        assert_eq!(found("a,b,c,d 1,1193,5,978300760 1,661,3,978302109 2,914,4,978301968", true), "user=a item=b time=d rating=c 1..5");
        assert_eq!(found("a,b,c 17,5,1 18,6,0 19,5,0", true), "user=a item=b click=c");
        assert_eq!(found("a,b anna,matrix bert,heat", true), "user=a item=b");
        assert_eq!(found("who,product 17,5 18,6 19,5", false), "user=who item=product");
        assert_eq!(found("user,rating 17,5 18,4 19,3", false), "none");
    }

    #[test]
    fn tables_of_users_and_items_settle_which_column_is_which() {
        let columns = table("a,b 5,17 6,18 7,17");
        let keys = [Some(Side::Item), Some(Side::User)];
        let roles = roles(&columns, Context { decimal_comma: false, is_nameless: true, keys: &keys }).unwrap();
        assert_eq!((roles.user, roles.item), (1, 0));
    }

    #[test]
    fn ranges_are_rounded_outwards_to_the_usual_ones() {
        for (observed, expected) in [
            ([1.0, 5.0], [1.0, 5.0]),
            ([2.0, 4.0], [1.0, 5.0]),
            ([0.5, 4.5], [0.5, 5.0]),
            ([0.0, 5.0], [0.0, 5.0]),
            ([1.0, 6.0], [1.0, 7.0]),
            ([1.0, 9.0], [1.0, 10.0]),
            ([0.0, 10.0], [0.0, 10.0]),
            ([-9.9, 9.5], [-10.0, 10.0]),
            ([3.0, 97.0], [1.0, 100.0]),
            ([-20.5, 3.0], [-21.0, 3.0]),
        ] {
            assert_eq!(usual_range(observed), expected, "{observed:?}");
        }
    }

    #[test]
    fn names_are_cut_into_words() {
        assert_eq!(words("User-ID"), ["user", "id"]);
        assert_eq!(words("unixReviewTime"), ["unix", "review", "time"]);
        assert_eq!(words("rating:float"), ["rating"]);
        assert_eq!((stem("visitorid"), stem("user_key"), stem("isbn")), ("visitor".into(), "user".into(), "isbn".into()));
    }
}
