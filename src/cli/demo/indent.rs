//! JSON laid out for people, with its members in the order in which they came.

/// `json` with two spaces of indentation a level. Expects valid JSON; whatever it gets, no byte
/// outside of white space is changed or lost.
pub(super) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut just_opened = false;
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if matches!(c, '}' | ']') {
            depth -= usize::from(depth > 0);
            if !just_opened {
                new_line(&mut out, depth);
            }
        } else if just_opened {
            new_line(&mut out, depth);
        }
        just_opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => new_line(&mut out, depth),
            ':' => out.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_what_serde_json_would() {
        for text in [
            r#"{"a":[1,-2.5e3,[],{}],"b":{"c":"x, {y}: \"z\" \\"},"d":null}"#,
            r#"[[["deep"]],"é\u00e9"]"#,
            "0",
        ] {
            // Members in alphabetical order, so that `Value` keeps them.
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let expected = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(pretty(text).replace("\\u00e9", "é").replace("2.5e3", "2500.0"), expected);
            assert_eq!(pretty(&expected), expected);
        }
    }

    #[test]
    fn keeps_the_order_of_members() {
        assert_eq!(pretty(r#"{"b":1,"a":2}"#), "{\n  \"b\": 1,\n  \"a\": 2\n}");
    }
}
