//! The files of the page, compiled into the program.

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path.
    pub path: &'static str,
    /// Its content type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// A hash of its content, which identifies its version.
    pub hash: u64,
}

/// FNV-1a, computed at compile time.
const fn hash(bytes: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

macro_rules! assets {
    ($($(#[$doc:meta])* $name:ident = $path:literal, $content_type:literal, $file:literal;)+) => {
        $($(#[$doc])*
        pub static $name: Asset = {
            const BYTES: &[u8] = include_bytes!($file);
            Asset { path: $path, content_type: $content_type, bytes: BYTES, hash: hash(BYTES) }
        };)+

        /// Every file.
        pub static ASSETS: &[&Asset] = &[$(&$name),+];
    };
}

assets! {
    /// The style sheet.
    STYLE = "/page/page.css", "text/css; charset=utf-8", "../page.css";
    /// The script.
    SCRIPT = "/page/page.js", "text/javascript; charset=utf-8", "../page.js";
    /// The icon.
    ICON = "/page/icon.svg", "image/svg+xml", "../icon.svg";
    /// Font for labels and figures: Schibsted Grotesk.
    GROTESK = "/page/grotesk.woff2", "font/woff2", "../fonts/grotesk.woff2";
    /// Font for what publishers wrote: Literata.
    LITERATA = "/page/literata.woff2", "font/woff2", "../fonts/literata.woff2";
}

impl Asset {
    /// The file at a path.
    pub fn at(path: &str) -> Option<&'static Self> {
        ASSETS.iter().copied().find(|asset| asset.path == path)
    }

    /// The address of this version of the file; responses from it may be cached.
    pub(crate) fn address(&self) -> String {
        format!("{}?v={:016x}", self.path, self.hash)
    }

    /// Whether a query string names this version of the file.
    pub fn is_as_named(&self, query: &str) -> bool {
        query == format!("v={:016x}", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_small() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes <= 125_000, "{bytes} bytes");
    }

    #[test]
    fn an_address_says_which_content_is_meant() {
        let address = STYLE.address();
        let (path, query) = address.split_once('?').expect("a query");
        assert_eq!(Asset::at(path).expect("a file").hash, STYLE.hash);
        assert!(STYLE.is_as_named(query) && !SCRIPT.is_as_named(query) && !STYLE.is_as_named(""));
        assert!(Asset::at("/page/../page.css").is_none());
    }

    #[test]
    fn nothing_is_asked_of_other_hosts() {
        for asset in ASSETS {
            let Ok(text) = std::str::from_utf8(asset.bytes) else {
                continue;
            };
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !text.contains("http:") && !text.contains("https:"),
                "{}",
                asset.path
            );
            assert!(
                !text.contains("url(//") && !text.contains("@import"),
                "{}",
                asset.path
            );
        }
    }
}
