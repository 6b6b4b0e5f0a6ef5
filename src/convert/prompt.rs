//! Resolves `{a
//! b}` in prompts, as the editor does when it submits a graph.
//!
//! Source: observed from the official frontend 1.45.15 / 1.58.1.

/// Resolves a prompt: comments (`/* … */`, and `// …` to the end of the line) are removed, one choice of each
/// `{a
/// b}` stays, also when nested, and `\{`, `\
/// `, `\}` stand for themselves. A brace that is never closed reaches to the end.
///
/// `draw` receives the number of choices and returns the index of one of them.
pub(super) fn draw_prompt(prompt: &str, draw: &mut dyn FnMut(usize) -> usize) -> String {
    let prompt = without_comments(prompt);
    let blocks = ChoiceBlocks::of(&prompt);
    let mut drawn = String::with_capacity(prompt.len());
    // Ranges of the prompt still to write, the next on top.
    let mut open = vec![(0, prompt.len())];
    while let Some((start, end)) = open.pop() {
        let Some(brace) = blocks.next_in(start, end) else {
            drawn.push_str(&prompt[start..end]);
            continue;
        };
        let block = &blocks.0[brace];
        drawn.push_str(&prompt[start..block.start]);
        let parts = block.bars.len() + 1;
        let part = draw(parts).min(parts - 1);
        let begin = if part == 0 { block.start + 1 } else { block.bars[part - 1] + 1 };
        open.push(((block.end + 1).min(end), end));
        open.push((begin, block.bars.get(part).copied().unwrap_or(block.end)));
    }
    unescaped(&drawn)
}

/// One `{…}`: the positions of its braces and of its own bars.
struct ChoiceBlock {
    start: usize,
    end: usize,
    bars: Vec<usize>,
}

/// All blocks by their start.
struct ChoiceBlocks(Vec<ChoiceBlock>);

impl ChoiceBlocks {
    fn of(prompt: &str) -> Self {
        let mut blocks: Vec<ChoiceBlock> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut escaped = false;
        for (at, byte) in prompt.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'{' => {
                    open.push(blocks.len());
                    blocks.push(ChoiceBlock { start: at, end: prompt.len(), bars: Vec::new() });
                }
                b'|' => {
                    if let Some(&block) = open.last() {
                        blocks[block].bars.push(at);
                    }
                }
                b'}' => {
                    if let Some(block) = open.pop() {
                        blocks[block].end = at;
                    }
                }
                _ => {}
            }
        }
        Self(blocks)
    }

    /// The first block that starts within a range.
    fn next_in(&self, start: usize, end: usize) -> Option<usize> {
        let at = self.0.partition_point(|block| block.start < start);
        self.0.get(at).is_some_and(|block| block.start < end).then_some(at)
    }
}

fn without_comments(prompt: &str) -> String {
    let mut clean = String::with_capacity(prompt.len());
    let mut rest = prompt;
    // Without a `*/` here there is none later, so it is not searched again for each `/*`.
    let mut closes = true;
    while let Some(at) = rest.find('/') {
        let (before, comment) = rest.split_at(at);
        clean.push_str(before);
        let block = if closes && comment.starts_with("/*") { comment[2..].find("*/") } else { None };
        closes &= block.is_some() || !comment.starts_with("/*");
        rest = if let Some(end) = block {
            &comment[end + 4..]
        } else if comment.starts_with("//") {
            let end = comment.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(comment.len());
            &comment[end..]
        } else {
            clean.push('/');
            &comment[1..]
        };
    }
    clean.push_str(rest);
    clean
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '\\' || !matches!(chars.peek(), Some('{' | '|' | '}')) {
            plain.push(char);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(prompt: &str, part: usize) -> String {
        draw_prompt(prompt, &mut |parts| part.min(parts - 1))
    }

    #[test]
    fn one_part_of_each_block_stays() {
        for (prompt, first, last) in [
            ("a {red|green} cube", "a red cube", "a green cube"),
            ("{a|{b|c}} d", "a d", "c d"),
            ("{x}", "x", "x"),
            (r"\{a\|b\} {c\|d|e\}}", "{a|b} c|d", "{a|b} e}"),
            ("open {a|b", "open a", "open b"),
            ("{a|{b|c", "a", "c"),
            ("} | stays", "} | stays", "} | stays"),
            ("  blanks {|x}  ", "  blanks   ", "  blanks x  "),
            ("{a|b}{c|d}", "ac", "bd"),
            (r"back\slash \\", r"back\slash \\", r"back\slash \\"),
        ] {
            assert_eq!(drawn(prompt, 0), first, "{prompt}");
            assert_eq!(drawn(prompt, 9), last, "{prompt}");
        }
    }

    #[test]
    fn comments_go_also_in_urls() {
        assert_eq!(drawn("a /* b\n{ */c // d\ne", 0), "a c \ne");
        assert_eq!(drawn("http://x/y", 0), "http:");
        assert_eq!(drawn("a / b /* open", 0), "a / b /* open");
    }

    #[test]
    fn a_hundred_thousand_braces_take_no_time_and_no_stack() {
        assert_eq!(drawn(&"{".repeat(100_000), 0), "");
        let deep = format!("{}x{}", "{a|".repeat(50_000), "}".repeat(50_000));
        assert_eq!(drawn(&deep, 1), "x");
        assert_eq!(drawn(&"/* ".repeat(100_000), 0).len(), 300_000);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r"[{}|\\/*a%.é\n]{0,60}", part in 0usize..4) {
            let _drawn = drawn(&text, part);
            let plain: String = text.chars().filter(char::is_ascii_alphabetic).collect();
            prop_assert_eq!(drawn(&plain, part), plain);
        }
    }
}
