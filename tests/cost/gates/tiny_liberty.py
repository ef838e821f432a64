"""A Liberty file small enough to be interpolated by hand: slopes 0.1 and 0.3 ns, loads 1 and 3 fF."""

HEAD = """/* ours */
library (tiny) {
  time_unit : "1ns";
  voltage_unit : "1V";
  capacitive_load_unit (1, ff);
  leakage_power_unit : "1nW";
  nom_voltage : 2.0;
  lu_table_template (delay) {
    variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance;
    index_1 ("0.1, 0.3");
    index_2 ("1.0, 3.0");
  }
  power_lut_template (energy) {
    variable_1 : input_transition_time;
    index_1 ("0.1, 0.3");
  }
"""

INV = """  cell (INVX1) {
    area : 2.5;
    cell_leakage_power : 4.0;
    pin (A) { direction : input; capacitance : 2.0; }
    pin (Y) {
      direction : output;
      function : "A'";
      timing () {
        related_pin : "A";
        cell_rise (delay) { values ("1.0, 2.0", \\
                                    "3.0, 4.0"); }
        cell_fall (delay) { values ("2.0, 3.0", "4.0, 5.0"); }
        rise_transition (delay) { values ("0.2, 0.2", "0.2, 0.2"); }
        fall_transition (delay) { values ("0.2, 0.2", "0.2, 0.2"); }
      }
      internal_power () {
        related_pin : "A";
        rise_power (energy) { values ("6.0, 8.0"); }
        fall_power (energy) { values ("2.0, 4.0"); }
      }
    }
  }
"""

FLIP_FLOP = """  cell (DFF) {
    ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; }
    pin (D) { direction : input; capacitance : 1; }
    pin (C) { direction : input; capacitance : 1; clock : true; }
    pin (Q) { direction : output; function : "IQ"; }
  }
"""

TIE = """  cell (TIE1) {
    pin (Z) { direction : output; function : "1"; }
  }
"""

TINY = HEAD + INV + FLIP_FLOP + TIE + "}\n"

#: As sky130 and ASAP7 write: quoted words, states and supplies apart, a missing semicolon, other units.
DIALECT = """library ("odd") {
    comment : "";
    time_unit : "1ps";
    capacitive_load_unit(1.0000000000, "pf");
    leakage_power_unit : "1pW";
    nom_voltage : 0.7000000000;
    define(process_corner, operating_conditions, string);
    lu_table_template ("slow_first") {
        variable_1 : "total_output_net_capacitance";
        variable_2 : "input_net_transition";
        index_1 ("1.0 3.0");
        index_2 ("10, 20, 30");
    }
    cell ("odd__nand2_1") {
        area : 0.08748
        dont_use : "true";
        pg_pin ("VDD") { pg_type : "primary_power"; voltage_name : "VDD"; }
        leakage_power () { value : 10; when : "!A&!B"; related_pg_pin : VDD; }
        leakage_power () { value : 30; when : "A&B"; related_pg_pin : VDD; }
        leakage_power () { value : 5; when : "A&B"; related_pg_pin : VSS; }
        pin ("A") { direction : "input"; rise_capacitance : 0.001; fall_capacitance : 0.003; }
        pin ("B") { direction : "input"; capacitance : 0.004; }
        pin ("Y") {
            direction : "output";
            function : "(!A) | (!B)";
            timing () {
                related_pin : "A B"; timing_sense : "negative_unate"; timing_type : "combinational";
                cell_rise ("slow_first") { values ("1, 2, 3", "4, 5, 6"); }
                rise_transition ("scalar") { values ("7"); }
            }
            internal_power () { related_pin : "A"; related_pg_pin : "VDD";
                power ("scalar") { values ("3"); } }
            internal_power () { related_pin : "A"; related_pg_pin : "VSS";
                power ("scalar") { values ("-1"); } }
        }
    }
    cell (odd__inv_1) {
        pin (A) { direction : input; capacitance : 0.002; }
        pin (Y) { direction : output; function : "!A";
            timing () { related_pin : "A";
                cell_fall (scalar) { values ("9.0"); } fall_transition (scalar) { values ("5.0"); } }
        }
    }
}
"""
