//! Rings that a worker and vCPUs serve.

use casemate_enclave_abi::Layout;

use super::*;

/// Answers with the first argument.
#[derive(Debug)]
struct Echo;

impl Serve for Echo {
    fn serve(&mut self, request: Request) -> Response {
        let [first, ..] = request.args;
        Response { id: request.id, result: first, aux: [0; 2] }
    }
}

/// The enclave's end of a vCPU's rings.
struct Inside {
    submission: Producer<'static, 8>,
    completion: Consumer<'static, 4>,
    control: Control<'static>,
}

impl Inside {
    fn new(window: SharedWindow, vcpu: u64) -> Self {
        let area = window.layout().vcpu(vcpu).unwrap();
        let region = |region| window.window().region(region).unwrap();
        Self {
            submission: Producer::new(region(area.submission), RING_ENTRIES).unwrap(),
            completion: Consumer::new(region(area.completion), RING_ENTRIES).unwrap(),
            control: Control::new(region(area.control)).unwrap(),
        }
    }

    fn ask(&mut self, id: u64) {
        self.submission.push(Request { id, op: 49, args: [id * 10, 0, 0, 0, 0, 0] }.to_words()).unwrap();
    }

    fn answer(&mut self) -> Option<(u64, u64)> {
        let response = Response::from_words(self.completion.pop().unwrap()?);
        Some((response.id, response.result))
    }
}

fn workers(enabled: bool) -> (Workers<Echo>, [Inside; 2]) {
    let window = SharedWindow::new(Layout::new(2, 4096, 4096).unwrap()).unwrap();
    let mut workers = Workers::new(window, || Echo, Arc::default(), enabled).unwrap();
    workers.enabled = enabled;
    (workers, [Inside::new(window, 0), Inside::new(window, 1)])
}

#[test]
fn a_vcpu_serves_its_own_ring_and_all_of_it() {
    let (workers, [mut first, mut second]) = workers(false);
    first.ask(1);
    first.ask(2);
    second.ask(3);
    workers.serve(0).unwrap();
    assert_eq!([first.answer(), first.answer(), first.answer()], [Some((1, 10)), Some((2, 20)), None]);
    assert_eq!(second.answer(), None);
    assert_eq!(workers.serve(2), Err(RingError::Corrupt));
}

#[test]
fn a_worker_serves_all_rings_and_says_while_it_does() {
    let (workers, [mut first, mut second]) = workers(true);
    first.ask(1);
    second.ask(2);
    workers.poll();
    assert_eq!((first.answer(), second.answer()), (Some((1, 10)), Some((2, 20))));
    // It found nothing more and has gone.
    assert_eq!(first.control.polled.load(Ordering::SeqCst), 0);
    workers.announce(true);
    assert_eq!(second.control.polled.load(Ordering::SeqCst), 1);
}

#[test]
fn a_worker_stays_away_where_vcpus_need_the_processors() {
    let (workers, [mut first, _]) = workers(true);
    for _ in 0..workers.processors {
        workers.enter();
    }
    assert!(!workers.has_room());
    first.ask(1);
    // Who counts on it while it goes is served all the same.
    workers.poll();
    assert_eq!(first.answer(), Some((1, 10)));
    let away = |workers: &Workers<Echo>| workers.rhythm.lock().unwrap().away;
    assert_eq!(away(&workers), AWAY * 2);
    workers.poll();
    assert_eq!(away(&workers), AWAY * 4);
    workers.leave();
    assert!(workers.has_room());
}

#[test]
fn close_exits_call_a_worker_and_distant_ones_do_not() {
    let (workers, _) = workers(true);
    let wanted = || *workers.wanted.lock().unwrap();
    for _ in 0..ENOUGH {
        std::thread::sleep(CLOSE * 2);
        workers.note_exit();
    }
    assert!(!wanted());
    // On a machine that is interrupted all the time it takes more than one attempt.
    assert!((0..10_000).any(|_| {
        workers.note_exit();
        wanted()
    }));
}

#[test]
fn a_corrupt_ring_ends_the_worker_and_is_its_vcpus_to_report() {
    let (workers, _) = workers(true);
    let (ring, _) = &workers.rings[0];
    let window = SharedWindow::new(Layout::new(1, 4096, 4096).unwrap()).unwrap();
    let submission = window.window().region(window.layout().vcpu(0).unwrap().submission).unwrap();
    ring.lock().unwrap().submission = Consumer::new(submission, RING_ENTRIES).unwrap();
    // More entries than the ring has.
    submission.word(casemate_enclave_abi::Offset(0)).unwrap().store(RING_ENTRIES + 1, Ordering::SeqCst);
    workers.poll();
    assert_eq!(workers.serve(0), Err(RingError::Corrupt));
}
