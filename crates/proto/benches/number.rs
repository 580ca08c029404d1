//! Parsing and formatting of numbers in the power protocol's format, compared with the standard library and with crates that
//! only find the shortest digits; and a batch of requests, from bytes to bytes.

use std::fmt::Write;
use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proto::wire::number::Number;
use proto::wire::power::server::{Received, ReplyEncoder, RequestDecoder};
use tokio_util::codec::{Decoder, Encoder};

/// Short numbers, as people send them, and numbers with all the digits of a double.
const NUMBERS: [(&str, &str); 4] =
    [("small", "4"), ("plain", "0.0001234"), ("long", "3.141592653589793"), ("extreme", "-2.2250738585072014e-308")];

fn parse(criterion: &mut Criterion) {
    for (name, text) in NUMBERS {
        let mut group = criterion.benchmark_group(format!("parse {name}"));
        group.bench_function("wire", |bencher| bencher.iter(|| Number::parse(black_box(text.as_bytes()))));
        group.bench_function("standard library", |bencher| bencher.iter(|| black_box(text).parse::<f64>()));
        group.finish();
    }
}

fn format(criterion: &mut Criterion) {
    for (name, text) in NUMBERS {
        let Ok(number) = text.parse::<Number>() else { continue };
        let value = number.value();
        let mut group = criterion.benchmark_group(format!("format {name}"));
        group.bench_function("wire", |bencher| bencher.iter(|| black_box(number).text()));
        group.bench_function("zmij alone", |bencher| {
            bencher.iter(|| zmij::Buffer::new().format_finite(black_box(value)).len());
        });
        group.bench_function("ryu alone", |bencher| {
            bencher.iter(|| ryu::Buffer::new().format_finite(black_box(value)).len());
        });
        let mut string = String::with_capacity(512);
        group.bench_function("standard library", |bencher| {
            bencher.iter(|| {
                string.clear();
                write!(string, "{}", black_box(value))
            });
        });
        group.finish();
    }
}

fn batch(criterion: &mut Criterion) {
    let requests: Vec<u8> =
        NUMBERS.iter().cycle().take(128).flat_map(|(_, text)| format!("d{text}\n").into_bytes()).collect();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(128));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    group.bench_function("128 lines", |bencher| {
        bencher.iter(|| {
            input.clear();
            output.clear();
            input.extend_from_slice(&requests);
            let mut decoder = RequestDecoder::new(512, false);
            while let Ok(Some(Received::Request { request, terminator, .. })) = decoder.decode(&mut input) {
                let reply = request.map(|request| request.operand);
                let _ = ReplyEncoder.encode((&reply, terminator), &mut output);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, parse, format, batch);
criterion_main!(benches);
