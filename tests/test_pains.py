"""Known problems of other tools, and the tests that show that buildsys does not have them.

The numbers refer to the project's original list; rows that need a GPU are missing.
"""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

PAINS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "the conversion succeeds and the board says Invoke failed",
        (
            "test_a_stock_output_is_refused_with_both_layouts",
            "test_a_stock_export_is_refused_before_the_compiler",
            "test_a_firmware_gets_the_head_that_it_decodes",
            "test_a_board_whose_firmware_cannot_decode_it_is_refused",
            "test_the_compiled_model_is_loaded_by_the_firmware",
        ),
    ),
    2: (
        "flashed to the wrong address, or not at all",
        (
            "test_models_share_a_board_side_by_side_only",
            "test_what_cannot_be_flashed_is_no_package",
            "test_every_byte_arrives_where_the_firmware_looks",
        ),
    ),
    3: (
        "11 MB of SRAM wanted on a device of 1.1 MB",
        (
            "test_a_model_that_does_not_fit_is_reported_with_both_figures",
            "test_the_largest_size_is_found_by_compiling",
            "test_a_failing_build_can_name_the_size",
        ),
    ),
    4: (
        "an operator that the resolver does not have",
        (
            "test_an_operator_that_the_firmware_lacks_is_named",
            "test_an_operator_that_tflite_micro_lacks_is_named",
        ),
    ),
    5: (
        "a new compiler breaks models",
        (
            "test_a_change_runs_exactly_what_depends_on_it",
            "test_what_the_driver_on_the_device_would_refuse",
            "test_every_step_says_whose_tensorflow_it_was",
        ),
    ),
    6: (
        "the full-integer model detects nothing",
        (
            "test_one_scale_for_boxes_and_scores_is_refused",
            "test_int8_destroys_the_outputs_of_a_stock_export",
        ),
    ),
    7: (
        "boxes wrong, keypoints fine",
        ("test_the_verdict_of_a_ladder_that_breaks",),
    ),
    8: (
        "calibrated on somebody else's pictures",
        (
            "test_mistake_is_reported_once",
            "test_a_measured_image_among_the_calibration_is_counted",
        ),
    ),
    9: (
        "the build changes the user's environment, or needs the network",
        ("test_a_synced_build_needs_no_network",),
    ),
    12: (
        "int8 differs from run to run",
        (
            "test_two_clean_builds_make_the_same_bytes",
            "test_the_same_network_gives_the_same_bytes",
            "test_a_killed_training_ends_in_the_same_bytes",
        ),
    ),
    13: (
        "a wrong cache hit",
        (
            "test_a_change_runs_exactly_what_depends_on_it",
            "test_a_change_runs_exactly_what_depends_on_it",
            "test_an_edited_annotation_runs_what_rests_on_it",
        ),
    ),
    14: (
        "one mistake, seven errors, no line",
        (
            "test_mistake_is_reported_once",
            "test_mistake_in_annotations_is_reported_once",
        ),
    ),
    15: (
        "parallel builds, locks, broken databases",
        (
            "test_parallel_builds_ship_the_bytes_of_serial_ones",
            "test_whoever_is_ended_however",
        ),
    ),
    16: (
        "a comment rebuilds everything",
        ("test_a_change_runs_exactly_what_depends_on_it",),
    ),
    17: (
        "published accuracy is not of the published file",
        (
            "test_figures_carry_the_digest_of_their_file",
            "test_two_recipes_are_compared",
            "test_its_figures_come_back_into_the_workspace",
        ),
    ),
    18: (
        "letterbox in training, stretch in calibration",
        (
            "test_change_reaches_what_depends_on_it",
            "test_the_file_takes_rgb_in_0_to_1",
            "test_the_package_alone_sees_what_the_build_predicts",
        ),
    ),
    19: (
        "a calibration array that is reused whatever the arguments",
        ("test_a_change_runs_exactly_what_depends_on_it",),
    ),
}


@functools.cache
def names_of_tests() -> frozenset[str]:
    """The names of all test functions."""
    return frozenset(
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("number", PAINS)
def test_a_pain_has_the_test_that_shows_it(number: int) -> None:
    """Each problem in the list has an existing test."""
    sentence, shown_by = PAINS[number]
    assert sentence
    assert shown_by
    assert set(shown_by) <= names_of_tests()
