from oodtune.evaluate.palette import GLYPHS, PATHS, method_of, row_styles
from tests.fixtures.reporting import RATES, make_scores


def test_rows_of_a_small_sweep_differ_in_shape_and_not_in_colour_alone():
    styles = row_styles(make_scores()).values()
    assert len({style.marker for style in styles}) == len(styles)


def test_no_two_rows_of_a_large_sweep_look_alike():
    styles = row_styles(make_scores(methods=RATES)).values()
    assert len(styles) > 12
    assert len({(style.light, style.marker, style.is_hollow) for style in styles}) == len(styles)
    assert len({style.css for style in styles}) == len(styles)


def test_a_method_and_what_is_made_of_it_share_a_colour_and_the_same_kind_of_soup_a_shape():
    styles = row_styles(make_scores(methods=RATES))
    assert styles["plain"].light == styles["plain_soup"].light == styles["plain_ensemble"].light
    assert styles["plain_soup"].marker == styles["large_dropout_soup"].marker
    assert styles["plain_soup"].marker != styles["plain_trajectory_soup"].marker
    assert styles["uniform_soup"].light not in {styles[name].light for name in RATES}


def test_a_path_between_two_methods_belongs_to_neither():
    methods = ("plain", "large_dropout", "large")
    assert method_of("plain_to_large_dropout_0.5", methods) is None
    assert method_of("large_dropout_soup", methods) == "large_dropout"
    assert method_of("uniform_soup", methods) is None


def test_every_marker_has_a_shape_as_text_and_as_a_path():
    assert GLYPHS.keys() == PATHS.keys()
