//! The request for a factory reset in the environment.

use grub_env::{BootState, CannotKeep, Env, EnvError, FactoryReset};
use proptest::prelude::*;

fn factory() -> Env {
    let mut env = Env::new();
    BootState::factory().apply_to(&mut env);
    env
}

#[test]
fn a_request_is_read_as_it_was_written_and_moves_nothing_else() {
    for keep in [
        vec![],
        vec!["lib/app"],
        vec!["lib/app", "lib/daruma-x", "a b\\c", "ä"],
        vec!["/home", "lib/app", "/usr/local/bin/x"],
    ] {
        let reset = FactoryReset::new(&keep).unwrap();
        let mut env = factory();
        assert_eq!(FactoryReset::of(&env), None);
        FactoryReset::new(&["old"]).unwrap().ask(&mut env).unwrap();
        reset.ask(&mut env).unwrap();
        assert_eq!(FactoryReset::of(&env).as_ref(), Some(&reset));
        assert_eq!(BootState::from_env(&env), BootState::factory());
        assert_eq!(env.flaws(), Vec::<String>::new());
        // An install, a commit and GRUB's count leave the request alone.
        let mut state = BootState::from_env(&env);
        state.a.tries = 3;
        state.apply_to(&mut env);
        let counted = env.saved_by_grub("A_TRY", "4").unwrap();
        assert_eq!(FactoryReset::of(&counted).as_ref(), Some(&reset));
        assert!(FactoryReset::end(&mut env));
        assert!(!FactoryReset::end(&mut env));
        assert_eq!(FactoryReset::of(&env), None);
    }
}

#[test]
fn what_is_not_understood_is_no_request() {
    for value in ["", "1", "ALL", "all ", "keep", "keep:", "keep:a:", "keep:/a", "keep:a/../b"] {
        let mut env = factory();
        env.set("RESET", value).unwrap();
        assert_eq!(FactoryReset::of(&env), None, "{value:?}");
    }
}

#[test]
fn only_plain_paths_beside_darumas_own_folder_are_kept() {
    for (path, why) in [
        ("", CannotKeep::Path),
        ("/lib/app", CannotKeep::Path),
        ("/", CannotKeep::Path),
        ("/usr", CannotKeep::Path),
        ("/homes", CannotKeep::Path),
        ("/home/", CannotKeep::Path),
        ("/home/../etc", CannotKeep::Path),
        ("//home", CannotKeep::Path),
        ("lib/daruma/folders/home/upper", CannotKeep::Own),
        ("lib/app/", CannotKeep::Path),
        ("lib//app", CannotKeep::Path),
        ("./lib", CannotKeep::Path),
        ("lib/../lib/daruma", CannotKeep::Path),
        ("lib", CannotKeep::Own),
        ("lib/daruma", CannotKeep::Own),
        ("lib/daruma/etc/A", CannotKeep::Own),
        ("a:b", CannotKeep::Character),
        ("a\nb", CannotKeep::Character),
    ] {
        assert_eq!(FactoryReset::new(&["ok", path]), Err((path.to_owned(), why)));
    }
}

#[test]
fn a_folder_of_a_person_is_kept_where_its_changes_lie() {
    let reset = FactoryReset::new(&["/home/ann", "lib/app"]).unwrap();
    assert_eq!(reset.places(), ["lib/daruma/folders/home/upper/ann", "lib/app"]);
    assert_eq!(reset.names(), ["/home/ann", "/var/lib/app"]);
}

#[test]
fn too_many_paths_are_refused_and_the_environment_stays() {
    let mut env = factory();
    let before = env.clone();
    // 240 bytes with `keep:`
    let error = FactoryReset::new(&[&"x".repeat(236)]).unwrap().ask(&mut env).unwrap_err();
    assert!(matches!(error, EnvError::Full(_)), "{error}");
    assert!(env == before);
    FactoryReset::new(&[&"x".repeat(235)]).unwrap().ask(&mut env).unwrap();
    env.set("BOOTED", "2026-11-28T12:34:56").unwrap();
    env.set("PLACE", &"pci0000:00/".repeat(8)).unwrap();
}

proptest! {
    #[test]
    fn any_value_is_a_request_that_writes_it_again_or_none(value in "(keep:)?[a-z:/.]{0,40}") {
        let mut env = factory();
        env.set("RESET", &value).unwrap();
        if let Some(reset) = FactoryReset::of(&env) {
            let mut again = factory();
            reset.ask(&mut again).unwrap();
            prop_assert_eq!(again.get("RESET"), Some(value));
        }
    }
}
