//! The cost of a round against the house without the kernel: one move per read, as a person sends them, and many moves
//! per read, with and without a line end after each.

use std::sync::Arc;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proto::server::{Event, Handler};
use proto::wire::rps::Move;
use rps_server::house::{House, ThreadGenerator};
use rps_server::solo::SoloHandler;

fn handle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("solo handle");
    for (count, line_end) in [(1, ""), (64, ""), (16_384, ""), (16_384, "\n")] {
        let line = |number: usize| [&[Move::ALL[number % 7 % 3].byte()], line_end.as_bytes()].concat();
        let moves: Vec<u8> = (0..count).flat_map(line).collect();
        let mut solo = SoloHandler::new(House::new(ThreadGenerator), 16, Arc::default());
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count}{}", if line_end.is_empty() { "" } else { " lines" }), |bencher| {
            bencher.iter(|| {
                input.clear();
                output.clear();
                input.extend_from_slice(&moves);
                solo.handle(Event::Data, &mut input, &mut output, usize::MAX)
            });
        });
    }
    group.finish();
}

fn house(criterion: &mut Criterion) {
    let mut house = House::new(ThreadGenerator);
    criterion.bench_function("house", |bencher| bencher.iter(|| house.throw()));
}

criterion_group!(benches, handle, house);
criterion_main!(benches);
