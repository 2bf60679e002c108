//! Generates documents in many languages to measure extraction with, the same in every run.

use serde::Deserialize;

use super::texts::Numbers;

/// Words per document. In scripts without spaces, two characters count as one word.
pub(super) const WORDS: usize = 200;
/// Words per paragraph of HTML.
const PARAGRAPH: usize = 40;

/// Articles of the demo.
const DEMO: [(&str, &str); 3] = [
    ("en", include_str!("../../../demo/courier.ndjson")),
    ("de", include_str!("../../../demo/garten-kueche.ndjson")),
    ("fr", include_str!("../../../demo/plein-air.ndjson")),
];

/// Sentences for languages that have no article.
const SENTENCES: [(&str, &str); 9] = [
    (
        "es",
        "El puente del puerto vuelve a estar abierto al tráfico después de dos años de obras, y los vecinos \
         de la ciudad se alegran mucho. Los trenes nocturnos regresan en primavera a las grandes líneas del \
         norte, aunque los billetes serán más caros que antes. La biblioteca municipal presta desde hoy \
         herramientas, semillas e instrumentos de música a quien tenga un carné. Un equipo de médicos ha \
         estudiado durante diez años cómo duerme la gente que trabaja de noche.",
    ),
    (
        "it",
        "Il ponte del porto è di nuovo aperto al traffico dopo due anni di lavori, e gli abitanti della città \
         ne sono molto contenti. I treni notturni tornano in primavera sulle grandi linee del nord, anche se \
         i biglietti costeranno più di prima. La biblioteca comunale presta da oggi attrezzi, semi e \
         strumenti musicali a chiunque abbia una tessera. Un gruppo di medici ha studiato per dieci anni come \
         dorme chi lavora di notte.",
    ),
    (
        "pl",
        "Most portowy został ponownie otwarty dla ruchu po dwóch latach remontu, a mieszkańcy miasta bardzo \
         się cieszą. Nocne pociągi wracają wiosną na wielkie linie północy, choć bilety będą droższe niż \
         dawniej. Biblioteka miejska pożycza od dziś narzędzia, nasiona i instrumenty muzyczne każdemu, kto \
         ma kartę. Zespół lekarzy badał przez dziesięć lat, jak śpią ludzie pracujący w nocy.",
    ),
    (
        "ru",
        "Портовый мост снова открыт для движения после двух лет ремонта, и жители города очень рады этому. \
         Ночные поезда весной возвращаются на большие северные линии, хотя билеты будут дороже прежних. \
         Городская библиотека с сегодняшнего дня выдаёт инструменты, семена и музыкальные инструменты всем, \
         у кого есть билет. Группа врачей десять лет изучала, как спят люди, которые работают по ночам.",
    ),
    (
        "tr",
        "Liman köprüsü iki yıllık onarımdan sonra yeniden trafiğe açıldı ve şehir halkı buna çok sevindi. Gece \
         trenleri ilkbaharda kuzeyin büyük hatlarına dönüyor, ancak biletler eskisinden pahalı olacak. Şehir \
         kütüphanesi bugünden itibaren kartı olan herkese alet, tohum ve müzik aleti ödünç veriyor. Bir grup \
         doktor on yıl boyunca gece çalışanların nasıl uyuduğunu inceledi.",
    ),
    (
        "ja",
        "港の橋が二年間の工事を終えて再び開通し、市民はとても喜んでいる。夜行列車は春に北の幹線へ戻ってくるが、\
         切符は以前より高くなる見込みだ。市立図書館は今日から、カードを持つ人なら誰にでも工具や種子、楽器を\
         貸し出している。医師の研究班は、夜に働く人々がどのように眠るのかを十年にわたって調べた。",
    ),
    (
        "zh",
        "港口大桥经过两年的维修后重新开放通车，市民们非常高兴。夜间列车将于春天回到北方的主要线路，不过车票会比\
         以前更贵。市立图书馆从今天起向所有持卡人出借工具、种子和乐器。一个医生小组用十年时间研究了夜间工作的人\
         如何睡眠。",
    ),
    (
        "ko",
        "항구 다리가 이 년 동안의 공사를 마치고 다시 열려 시민들이 매우 기뻐하고 있다. 야간 열차는 봄에 북쪽의 \
         큰 노선으로 돌아오지만 표는 전보다 비싸질 것이다. 시립 도서관은 오늘부터 카드를 가진 모든 사람에게 \
         공구와 씨앗과 악기를 빌려준다. 의사들은 밤에 일하는 사람들이 어떻게 자는지를 십 년 동안 연구했다.",
    ),
    (
        "ar",
        "أعيد فتح جسر الميناء أمام حركة المرور بعد عامين من الإصلاحات، وسكان المدينة سعداء بذلك كثيرا. تعود \
         قطارات الليل في الربيع إلى خطوط الشمال الكبرى، لكن التذاكر ستكون أغلى من ذي قبل. تعير المكتبة العامة \
         من اليوم الأدوات والبذور والآلات الموسيقية لكل من لديه بطاقة. درس فريق من الأطباء خلال عشر سنوات كيف \
         ينام الناس الذين يعملون في الليل.",
    ),
];

/// The languages that have documents.
pub(super) fn languages() -> impl Iterator<Item = &'static str> {
    let demo = DEMO.iter().map(|(language, _)| *language);
    demo.chain(SENTENCES.iter().map(|(language, _)| *language))
}

#[derive(Deserialize)]
struct Article {
    text: String,
}

/// Makes documents of one language.
pub(super) struct Articles {
    /// Words, or sentences in scripts without spaces.
    parts: Vec<String>,
    spaced: bool,
}

impl Articles {
    /// `None` for a language without articles.
    pub(super) fn of(language: &str) -> Option<Self> {
        let of = |list: &[(&str, &'static str)]| {
            let found = list.iter().find(|(code, _)| *code == language);
            found.map(|(_, text)| *text)
        };
        let text = match of(&DEMO) {
            Some(lines) => lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Article>(line).ok())
                .map(|article| article.text)
                .collect::<Vec<_>>()
                .join(" "),
            None => of(&SENTENCES)?.to_owned(),
        };
        let spaced = !matches!(language, "ja" | "zh");
        let parts = if spaced {
            text.split_whitespace().map(str::to_owned).collect()
        } else {
            text.split_inclusive('。').map(str::to_owned).collect()
        };
        Some(Self { parts, spaced })
    }

    /// Title and HTML of document number `n`: pieces from several places of the articles, eight
    /// words or one sentence each.
    pub(super) fn document(&self, n: u64) -> (String, String) {
        let mut numbers = Numbers(n.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1));
        let mut words = Vec::new();
        let mut count = 0;
        while count < WORDS {
            let at = numbers.below(self.parts.len() as u64) as usize;
            for part in self
                .parts
                .iter()
                .cycle()
                .skip(at)
                .take(if self.spaced { 8 } else { 1 })
            {
                if count >= WORDS {
                    break;
                }
                count += if self.spaced {
                    1
                } else {
                    part.chars().count().div_ceil(2)
                };
                words.push(part.as_str());
            }
        }
        let between = if self.spaced { " " } else { "" };
        let title = words[..words.len().min(if self.spaced { 6 } else { 1 })].join(between);
        let per_paragraph = if self.spaced { PARAGRAPH } else { 2 };
        let mut html = String::new();
        for paragraph in words.chunks(per_paragraph) {
            let (first, rest) = paragraph.split_at(1);
            html.push_str("<p class=\"body\"><a href=\"https://example.org/?a=1&amp;b=2\">");
            html.push_str(&first.concat());
            html.push_str("</a>&nbsp;");
            html.push_str(&rest.join(between));
            html.push_str("</p>\n");
        }
        (title, html)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn documents_are_the_same_every_time_and_differ_from_one_another() {
        assert!(Articles::of("tlh").is_none());
        for language in languages() {
            let (articles, again) = (
                Articles::of(language).unwrap(),
                Articles::of(language).unwrap(),
            );
            let documents: Vec<_> = (0..20).map(|n| articles.document(n)).collect();
            let anew: Vec<_> = (0..20).map(|n| again.document(n)).collect();
            assert_eq!(documents, anew, "{language}");
            let distinct: HashSet<_> = documents.iter().collect();
            assert!(distinct.len() > 15, "{language}");
        }
    }
}
