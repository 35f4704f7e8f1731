//! The lanes under load and against misbehaving outposts, in simulated time.

use super::*;
use crate::config::{Address, Scheme};
use crate::facts::Host;
use std::collections::BTreeMap;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};

type Answers = dyn Fn(&Target, usize) -> (Duration, Conclusion) + Send + Sync;

/// Outposts that answer by a function of the target and the number of earlier questions, after some time.
struct Double {
    answers: Box<Answers>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When each question was asked, by outpost.
    asked: BTreeMap<String, Vec<Instant>>,
    running: BTreeMap<String, usize>,
    most: BTreeMap<String, usize>,
}

impl Double {
    fn new(answers: impl Fn(&Target, usize) -> (Duration, Conclusion) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answers: Box::new(answers), seen: Mutex::default() })
    }

    fn asked(&self, outpost: &str) -> Vec<Instant> {
        self.seen.lock().unwrap().asked.get(outpost).cloned().unwrap_or_default()
    }

    fn most_at_once(&self, outpost: &str) -> usize {
        self.seen.lock().unwrap().most.get(outpost).copied().unwrap_or_default()
    }

    fn begin(&self, outpost: &str) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let seen = &mut *seen;
        let running = seen.running.entry(outpost.to_owned()).or_default();
        *running += 1;
        let most = seen.most.entry(outpost.to_owned()).or_default();
        *most = (*most).max(*running);
        let asked = seen.asked.entry(outpost.to_owned()).or_default();
        asked.push(Instant::now());
        asked.len() - 1
    }

    fn end(&self, outpost: &str) {
        *self.seen.lock().unwrap().running.get_mut(outpost).unwrap() -= 1;
    }
}

impl Ask for Arc<Double> {
    fn ask(&self, target: Arc<Target>) -> BoxFuture<'static, Findings> {
        let double = Arc::clone(self);
        async move {
            let outpost = &target.outpost.name;
            let (delay, conclusion) = (double.answers)(&target, double.begin(outpost));
            sleep(delay).await;
            double.end(outpost);
            let is_reached = conclusion != timed_out(outpost);
            Findings { conclusion, is_reached, holes: None }
        }
        .boxed()
    }
}

const QUICK: Duration = Duration::from_millis(5);

fn outpost(name: &str) -> Outpost {
    let address = Address { scheme: Scheme::Http, host: format!("{name}.example.com"), port: 9000 };
    Outpost { name: name.to_owned(), address }
}

fn targets(outpost_name: &str, hosts: &[&str]) -> Vec<Target> {
    let target = |host: &&str| Target {
        outpost: outpost(outpost_name),
        host: Host::parse(host).unwrap(),
        scheme: Scheme::Https,
        passes_raw_host: false,
    };
    hosts.iter().map(target).collect()
}

fn app(name: &str) -> ObjectKey {
    ObjectKey::new("apps", name)
}

fn timed_out(outpost_name: &str) -> Conclusion {
    let Outpost { name, address } = outpost(outpost_name);
    Conclusion::TimedOut { outpost: name, address }
}

fn wrong_mode(target: &Target) -> Conclusion {
    Conclusion::WrongMode { host: target.host.to_string() }
}

/// Probes that ask `double`, and the apps that they have looked at.
fn probes(double: &Arc<Double>) -> (Probes, UnboundedReceiver<Vec<Key>>) {
    let (touched, keys) = unbounded_channel();
    (Probes::with(Arc::new(Arc::clone(double)), touched, Metrics::default()), keys)
}

/// Whether the metrics hold this text.
fn metric(probes: &Probes, text: &str) -> bool {
    probes.0.as_ref().unwrap().metrics.encode().unwrap().contains(text)
}

fn assurance(probes: &Probes, name: &str, outpost: &str) -> Assurance {
    assurance_of(probes, name, outpost, &[&format!("{name}.example.com")])
}

fn assurance_of(probes: &Probes, name: &str, outpost: &str, hosts: &[&str]) -> Assurance {
    let asked = Asked { targets: targets(outpost, hosts), is_believed: false };
    probes.assurance(&app(name), || Some(asked))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_apps_of_one_outpost_are_no_storm() {
    let double = Double::new(|_, _| (Duration::from_millis(200), Conclusion::Served));
    let (probes, _keys) = probes(&double);
    let names: Vec<String> = (0..1000).map(|number| format!("app-{number}")).collect();
    for name in &names {
        assert_eq!(assurance(&probes, name, "main"), Assurance::Awaited);
    }
    let start = Instant::now();
    while names.iter().any(|name| assurance(&probes, name, "main") != Assurance::Served) {
        assert!(start.elapsed() < Duration::from_mins(2), "{} asked", double.asked("main").len());
        sleep(Duration::from_millis(100)).await;
    }
    let asked = double.asked("main");
    assert_eq!(asked.len(), 1000, "each once");
    assert_eq!(double.most_at_once("main"), pace::CONCURRENCY);
    let most = asked.iter().map(|first| {
        let second = *first..*first + Duration::from_secs(1);
        asked.iter().filter(|asked| second.contains(asked)).count()
    });
    assert!(most.max().unwrap() <= 51, "a burst and the rate");

    // From then on an outpost hears from us now and then.
    sleep(Duration::from_mins(30)).await;
    let later = double.asked("main").len() - 1000;
    assert!((3000..=4100).contains(&later), "{later} in half an hour");
}

#[tokio::test(start_paused = true)]
async fn a_dead_outpost_delays_no_other_and_is_asked_about_one_host() {
    let double = Double::new(|target, _| match target.outpost.name.as_str() {
        "dead" => (Duration::from_secs(3), timed_out("dead")),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    for number in 0..500 {
        assurance(&probes, &format!("dead-{number}"), "dead");
    }
    assurance(&probes, "app", "main");
    sleep(QUICK * 2).await;
    assert_eq!(assurance(&probes, "app", "main"), Assurance::Served);
    sleep(Duration::from_secs(4)).await;
    for number in 0..500 {
        assert_eq!(
            assurance(&probes, &format!("dead-{number}"), "dead"),
            Assurance::Missing(timed_out("dead"))
        );
    }
    // One that comes later is told at once.
    assurance(&probes, "late", "dead");
    sleep(QUICK).await;
    assert_eq!(assurance(&probes, "late", "dead"), Assurance::Missing(timed_out("dead")));
    sleep(Duration::from_mins(10)).await;
    assert!(metric(&probes, r#"ingress_sso_outpost_up{outpost="dead"} 0"#));
    assert!(metric(&probes, r#"ingress_sso_outpost_up{outpost="main"} 1"#));
    assert!(metric(&probes, r#"ingress_sso_probes_total{outpost="dead",conclusion="OutpostTimedOut"} "#));
    assert_eq!(double.most_at_once("dead"), 1);
    assert!(double.asked("dead").len() <= 20, "{}", double.asked("dead").len());
}

#[tokio::test(start_paused = true)]
async fn an_outpost_that_comes_back_is_asked_about_all_its_hosts() {
    let start = Instant::now();
    let double = Double::new(move |target, _| match start.elapsed().as_secs() {
        0..60 => (QUICK, Conclusion::Served),
        60..300 => (Duration::from_secs(3), timed_out("main")),
        _ if target.host.as_str() == "app-7.example.com" => (QUICK, wrong_mode(target)),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    let look = || -> Vec<Assurance> {
        (0..20).map(|number| assurance(&probes, &format!("app-{number}"), "main")).collect()
    };
    look();
    sleep(Duration::from_secs(50)).await;
    assert_eq!(look(), vec![Assurance::Served; 20]);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(look(), vec![Assurance::Missing(timed_out("main")); 20]);
    sleep(Duration::from_mins(5)).await;
    let now = look();
    assert_eq!(now.iter().filter(|assurance| **assurance == Assurance::Served).count(), 19);
    assert!(matches!(&now[7], Assurance::Missing(Conclusion::WrongMode { .. })), "{:?}", now[7]);
}

#[tokio::test(start_paused = true)]
async fn an_outpost_that_flaps_is_no_news() {
    // Never three wanting answers in a row, of any kind.
    let double = Double::new(|target, number| match number % 5 {
        0 | 3 => (QUICK, Conclusion::Served),
        1 => (QUICK, wrong_mode(target)),
        _ => (QUICK, timed_out("main")),
    });
    let (probes, mut keys) = probes(&double);
    assurance(&probes, "app", "main");
    sleep(Duration::from_hours(1)).await;
    assert!(double.asked("main").len() > 200, "{}", double.asked("main").len());
    assert_eq!(assurance(&probes, "app", "main"), Assurance::Served);
    assert_eq!(keys.try_recv().unwrap(), [Key::App(app("app"))]);
    assert!(keys.try_recv().is_err(), "said once and for all");
}

#[tokio::test(start_paused = true)]
async fn an_outpost_that_comes_and_goes_is_news_twice_a_minute_at_most() {
    let start = Instant::now();
    let double = Double::new(move |target, _| match start.elapsed().as_secs() / 10 % 2 {
        0 => (QUICK, Conclusion::Served),
        _ => (QUICK, wrong_mode(target)),
    });
    let (probes, mut keys) = probes(&double);
    assurance(&probes, "app", "main");
    sleep(Duration::from_hours(1)).await;
    let mut news = 0;
    while keys.try_recv().is_ok() {
        news += 1;
    }
    assert!((10..=2 * 60 + 3).contains(&news), "{news}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_to_know_is_not_asked() {
    let double = Double::new(|_, _| (QUICK, Conclusion::Served));
    let (probes, _keys) = probes(&double);
    // Two apps on one host, which then moves to another outpost.
    for name in ["one", "two"] {
        assurance_of(&probes, name, "main", &["shared.example.com"]);
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(double.asked("main").len(), 1);
    assurance_of(&probes, "one", "other", &["shared.example.com"]);
    sleep(Duration::from_mins(2)).await;
    assert!(double.asked("main").len() > 2, "the second app is still there");
    assert!(double.asked("other").len() > 1);
    probes.assurance(&app("two"), || None);
    probes.assurance(&app("one"), || None);
    sleep(QUICK * 2).await;
    let asked = double.asked("main").len() + double.asked("other").len();
    sleep(Duration::from_hours(1)).await;
    assert_eq!(double.asked("main").len() + double.asked("other").len(), asked);
    let Some(shared) = &probes.0 else { panic!("off") };
    let board = shared.board();
    assert!(board.hosts.is_empty() && board.of_apps.is_empty() && board.lanes.is_empty());
    drop(board);
    assert!(!metric(&probes, "outpost="), "an outpost that is asked no more has no figures");
}

#[tokio::test(start_paused = true)]
async fn a_dead_outpost_is_asked_on_after_the_app_that_found_out_is_gone() {
    let start = Instant::now();
    let double = Double::new(move |_, _| match start.elapsed().as_secs() {
        0..60 => (QUICK, timed_out("main")),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    for name in ["one", "two"] {
        assurance(&probes, name, "main");
        sleep(Duration::from_secs(1)).await;
    }
    probes.assurance(&app("one"), || None);
    sleep(Duration::from_mins(3)).await;
    assert_eq!(assurance(&probes, "two", "main"), Assurance::Served);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_a_bug_kept_from_being_asked_about_is_asked_about_again() {
    let double = Double::new(|target, number| match number {
        // The one by which the lane finds out whether the outpost answers, and one of those after it.
        0 | 2 => panic!("a bug with {}", target.host),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    for name in ["one", "two", "three"] {
        assurance(&probes, name, "main");
    }
    sleep(Duration::from_mins(1)).await;
    for name in ["one", "two", "three"] {
        assert_eq!(assurance(&probes, name, "main"), Assurance::Served, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_waits_for_an_answer_on_its_way_and_not_for_a_slow_one() {
    let double = Double::new(|target, _| match target.outpost.name.as_str() {
        "slow" => (Duration::from_secs(2), Conclusion::Served),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    let waited = async |name: &str, outpost: &str| {
        assurance(&probes, name, outpost);
        let start = Instant::now();
        probes.settle(&app(name)).await;
        start.elapsed()
    };
    assert!(waited("app", "main").await <= QUICK * 2);
    assert_eq!(assurance(&probes, "app", "main"), Assurance::Served);
    let slow = waited("slow", "slow").await;
    assert!(slow >= GRACE && slow <= GRACE + QUICK, "{slow:?}");
    // It has to wait for its turn.
    assert!(waited("next", "slow").await <= QUICK);
    assert!(waited("app", "main").await <= QUICK, "known already");
    probes.settle(&app("nobody")).await;
}

#[tokio::test(start_paused = true)]
async fn an_app_is_served_when_all_its_hosts_are() {
    let double = Double::new(|target, _| match target.host.as_str() {
        "late.example.com" => (Duration::from_secs(1), Conclusion::Served),
        "bad.example.com" => (QUICK, wrong_mode(target)),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    let look = |hosts: &[&str]| assurance_of(&probes, "app", "main", hosts);
    look(&["a.example.com"]);
    sleep(QUICK * 2).await;
    assert_eq!(look(&["a.example.com", "late.example.com"]), Assurance::Awaited);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(look(&["a.example.com", "late.example.com"]), Assurance::Served);
    look(&["a.example.com", "bad.example.com"]);
    sleep(QUICK * 2).await;
    assert!(matches!(look(&["a.example.com", "bad.example.com"]), Assurance::Missing(_)));
    assert_eq!(Probes::off().assurance(&app("app"), || None), Assurance::NotAsked);
}

/// An outpost that is being rolled out while the controller is, too.
#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_restart_stands_until_it_is_certain_that_it_is_over() {
    let double = Double::new(|target, number| match number {
        0 | 1 => (QUICK, timed_out("main")),
        2..=4 => (QUICK, Conclusion::Served),
        _ => (QUICK, wrong_mode(target)),
    });
    let (probes, mut keys) = probes(&double);
    let look = |host: &str| {
        let asked = Asked { targets: targets("main", &[host]), is_believed: true };
        probes.assurance(&app("app"), || Some(asked))
    };
    assert_eq!(look("a.example.com"), Assurance::Served);
    sleep(Duration::from_mins(1)).await;
    assert!(double.asked("main").len() > 3 && keys.is_empty());
    assert_eq!(look("a.example.com"), Assurance::Served);
    sleep(Duration::from_mins(2)).await;
    assert!(matches!(look("a.example.com"), Assurance::Missing(Conclusion::WrongMode { .. })));
    assert!(keys.try_recv().is_ok());
    assert_eq!(look("b.example.com"), Assurance::Awaited, "of this host nothing was said");
}

/// Such as one whose provider passes the question on to an app that hangs.
#[tokio::test(start_paused = true)]
async fn a_host_that_gets_no_answer_says_nothing_of_the_others() {
    let hanging = |target: &Target| Conclusion::Tls {
        outpost: target.outpost.name.clone(),
        address: target.outpost.address.clone(),
        error: "reset".to_owned(),
    };
    let double = Double::new(move |target, _| match target.host.as_str() {
        "bad.example.com" => (Duration::from_secs(3), hanging(target)),
        _ => (QUICK, Conclusion::Served),
    });
    let (probes, _keys) = probes(&double);
    for name in ["bad", "one", "two"] {
        assurance(&probes, name, "main");
    }
    sleep(Duration::from_secs(5)).await;
    for name in ["one", "two"] {
        assert_eq!(assurance(&probes, name, "main"), Assurance::Served);
    }
    assert!(matches!(assurance(&probes, "bad", "main"), Assurance::Missing(Conclusion::Tls { .. })));
}

/// Questions that were under way together find out together, and that is once and not many times.
#[tokio::test(start_paused = true)]
async fn a_short_outage_is_no_news_however_many_questions_it_meets() {
    let start = Instant::now();
    let double = Double::new(move |_, _| match start.elapsed().as_millis() {
        1000..2000 => (Duration::from_millis(200), timed_out("main")),
        _ => (Duration::from_millis(200), Conclusion::Served),
    });
    let (probes, keys) = probes(&double);
    let look = |name: &str| {
        let asked = Asked { targets: targets("main", &[&format!("{name}.example.com")]), is_believed: true };
        probes.assurance(&app(name), || Some(asked))
    };
    let names: Vec<String> = (0..100).map(|number| format!("app-{number}")).collect();
    let are_served = || names.iter().all(|name| look(name) == Assurance::Served);
    assert!(are_served());
    sleep(Duration::from_secs(30)).await;
    assert_eq!(double.most_at_once("main"), pace::CONCURRENCY);
    assert!(are_served());
    assert!(keys.is_empty(), "{} were told", keys.len());
}
