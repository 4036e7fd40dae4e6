//! Shows what is discovered in the device trees named on the command line.

fn main() {
    for path in std::env::args().skip(1) {
        let blob = std::fs::read(&path).unwrap_or_default();
        match tessera_platform::Board::discover(&blob) {
            Ok(board) => println!("{path}: {board:#?}"),
            Err(error) => println!("{path}: error: {error}"),
        }
    }
}
