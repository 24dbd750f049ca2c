// An invocation for each value of the result, which the kernel makes: make(row, column).
// Grid: (values of a row / WG, rows). The parameters say how wide a row is and which rows there are.
fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column < params.width && group.y < row_count(params.tail)) {
        make(group.y, column);
    }
}
