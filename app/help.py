"""Definitions of what is shown, one sentence each, with sources."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HELP", "MEASURE_HELP", "Help"]

STUDY = "Li, Sun, Poskitt and Wang 2023, arXiv:2308.04177"


@dataclass(frozen=True)
class Help:
    """A definition and where it comes from."""

    text: str
    source: str


HELP = {
    "auroc": Help(
        "The probability that a random fake scores above a random real image, ties counting one "
        "half; 0.5 is chance, below it the detector is systematically wrong.",
        "Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747",
    ),
    "accuracy": Help(
        "The share of images on the right side of P(fake) = 0.5; it suffers where scores are "
        "shifted although their order is right.",
        STUDY,
    ),
    "ap": Help(
        "Average precision: the mean precision over all fakes found, going down the scores; scores "
        "without information give the share of fakes.",
        "scikit-learn's definition, without interpolation",
    ),
    "eer": Help(
        "Equal error rate: the error at the threshold where as many reals are called fake as fakes "
        "are missed; 0 is perfect and 0.5 is chance.",
        "ISO/IEC 19795-1",
    ),
    "matrix": Help(
        "Every detector on every dataset's test images. Intervals resample whole identities (else "
        "videos), because frames of one video are not independent. Per video: mean P(fake).",
        "Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x",
    ),
    "counts": Help(
        "The test: a unit contributes in a dataset if setting it to its mean takes away more from "
        "fakes' logits than from reals' (labels permuted over identities), and is universal if it "
        "does so in every dataset. The study's count: units among the largest effects of each.",
        "Benjamini and Heller 2008, doi:10.1111/j.1541-0420.2007.00984.x; " + STUDY,
    ),
    "ablation": Help(
        "Units found on one half of the people are set to their means on the other half, and "
        "AUROC is measured again. Only a loss beyond that of random sets with as large weights "
        "and ranges is due to what the units detect.",
        "ours; matched sets by |weight| × range",
    ),
    "taken": Help(
        "The units of a set of your own are set to their means in each dataset, and AUROC is "
        "measured again; so are random sets of other units, matched unit by unit in |weight| × "
        "range. p is the share of sets that lose as much, this one among them.",
        "ours; matched sets by |weight| × range",
    ),
    "units": Help(
        "The effect is the range (max − min) of the mean score while the unit is set to evenly "
        "spaced values over its range in the dataset and all else runs as usual: do(unit = v).",
        STUDY,
    ),
    "shares": Help(
        "A cell's color is the effect of a unit over the largest effect of any unit in that "
        "dataset, orange where larger values of the unit raise the score and purple where they "
        "lower it; a dot marks units in the dataset's list. A click on a column chooses its unit.",
        STUDY,
    ),
    "effects": Help(
        "Size of the unit's effect in each dataset. The tick is the smallest effect in the "
        "dataset's list, the gray line ends at the largest of all units.",
        STUDY,
    ),
    "doses": Help(
        "Mean score of a dataset's images when the unit is set to a value by intervention, not "
        "when it happens to have it. Values span the unit's range in the dataset.",
        "Pearl 2009, Causality, ch. 3; " + STUDY,
    ),
    "images": Help(
        "Images with the highest and the lowest activation of the unit, at most one frame a video. "
        "This is a correlation: it shows what goes along with the unit, not what it causes.",
        "Zeiler and Fergus 2014, arXiv:1311.2901, for activation-ranked images",
    ),
    "information": Help(
        "A linear probe is fitted to the layer and scored on other people. Above the detector's "
        "own AUROC, the information is there and the head does not use it. The control task has "
        "random labels by person: what the probe reaches there it owes to its own capacity.",
        "Alain and Bengio 2016, arXiv:1610.01644; Hewitt and Liang 2019, arXiv:1909.03368",
    ),
    "depth": Help(
        "One measure of how far real and fake lie apart, layer by layer. The shaded layer is the "
        "one chosen above; a click on a point chooses its layer.",
        "see the measure's own source in the table below",
    ),
    "measures": Help(
        "Measures of how far real and fake lie apart in the layer, all with people kept apart and "
        "both labels weighing the same. Bold: q ≤ 0.05, labels exchanged over people, false "
        "discovery rate over layers and datasets.",
        "Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x; each measure's own "
        "source is at its name",
    ),
    "transfer": Help(
        "The probe fitted on a row's dataset and scored on a column's, never on people it was "
        "fitted on. A row that is good everywhere has found what forgeries share; a diagonal that "
        "is good alone has found what is specific to one. Below: the detector itself.",
        "Alain and Bengio 2016, arXiv:1610.01644, for probes; the matrix is ours",
    ),
    "specific": Help(
        "Which part of the difference between real and fake belongs to single methods, and whether "
        "the layer tells methods and datasets at all. Squared differences are estimated over pairs "
        "of different people, without the bias of noise.",
        "ours; principal angles: Björck and Golub 1973, doi:10.1090/S0025-5718-1973-0348991-3",
    ),
    "knowledge": Help(
        "Mutual information of a unit's activation, in eight bins, with real or fake and, among "
        "fakes, with the method; each as a share of what there is to know, less what exchanged "
        "labels give. Below the dotted line a unit knows more of the method than of the forgery.",
        "Shannon 1948, doi:10.1002/j.1538-7305.1948.tb01338.x",
    ),
    "picture": Help(
        "A picture keeps some neighbors and invents others: distances and cluster sizes in UMAP "
        "and t-SNE mean nothing. Trustworthiness: 1 if nobody is drawn beside samples that are far "
        "from it. Neighbors kept: the share of true nearest neighbors that are also drawn near.",
        "Venna and Kaski 2001, doi:10.1007/3-540-44668-0_68; UMAP: arXiv:1802.03426; t-SNE: van "
        "der Maaten and Hinton 2008",
    ),
    "selected": Help(
        "AUROC of a unit: the chance that a selected sample activates it more than another one; "
        "0.5 tells nothing. Beside it the same among samples of one dataset and label only: where "
        "that is near 0.5 the unit tells which dataset or label was selected, and no more. "
        "Intervals: variance over people, as whole clusters.",
        "Obuchowski 1997, doi:10.2307/2533958; DeLong et al. 1988, doi:10.2307/2531595",
    ),
    "similarity": Help(
        "Debiased linear CKA: how alike two detectors' features of the same images are, whatever "
        "rotation and scale; 1 is the same, about 0 nothing in common. Intervals: jackknife over "
        "people.",
        "Kornblith et al. 2019, arXiv:1905.00414; Nguyen et al. 2021, arXiv:2010.15327",
    ),
    "spectra": Help(
        "Mean log10 power of an image at a frequency, all directions averaged. Upsampling leaves "
        "too much or too little at high frequencies. The lower panel shows the same from the mean "
        "of the reals.",
        "Durall et al. 2020, arXiv:2003.01826",
    ),
    "balance": Help(
        "How well a covariate alone tells fake from real in this dataset; 0.5 is balanced. Where "
        "it is not, an effect may be the codec's and not the forgery's, so effects are shown with "
        "and without control.",
        "Grommelt et al. 2024, arXiv:2403.17608",
    ),
    "artifact_effects": Help(
        "Mean of the fakes less mean of the reals, in standard deviations of the reals. Partialled "
        "out: covariates regressed away. Matched: only pairs with like covariates. A name is bold "
        "where the effect is significant with every control; point at a mark for its definition.",
        "Chandrasegaran et al. 2021, arXiv:2103.17195; Grommelt et al. 2024, arXiv:2403.17608",
    ),
    "tells": Help(
        "AUROC of a method's fakes against the fakes of all others, each less the mean of its "
        "dataset's real images; 0.5 tells nothing. Bold where the interval leaves 0.5 out.",
        "Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747",
    ),
    "responses": Help(
        "Partial rank correlation of a unit's activation and a measurement, given label, dataset "
        "and covariates. Dots: q ≤ 0.05 over all units and measurements, images exchanged over "
        "people. A correlation shows what goes along with a unit, not what moves it.",
        "Conover and Iman 1981, doi:10.1080/00031305.1981.10479327, for ranks; ours",
    ),
    "dose": Help(
        "The same faces are rendered again with one artifact's dose turned from 0 to 1 and all "
        "else kept. What changes is caused by the artifact. Intervals resample identities.",
        "Pearl 2009, Causality, ch. 3",
    ),
    "answers": Help(
        "The artifact whose full dose moves the unit most, if any does (q ≤ 0.05); else the "
        "measurement it correlates with most; else nothing was found. A dose is a cause, a "
        "correlation is not.",
        "ours",
    ),
    "explained": Help(
        "The images that maps were made of. Worst errors first: by how far the logit lies on the "
        "wrong side of 0. A missed fake has P(fake) below 0.5, a false alarm is a real image "
        "above.",
        "ours",
    ),
    "maps": Help(
        'What in the image moves the logit of "fake". All maps of one method have one scale of '
        "colors, which ends at the largest of the detectors' 99.5th percentiles of magnitude (of "
        "up to 64 of a detector's maps, evenly spaced); what is beyond has the color of the end.",
        "the method's paper is at its name",
    ),
    "trust_badge": Help(
        "A check counts as passed if the map is better than every reference it was tested against "
        "(q ≤ 0.05 each: random order, edges of the image, the same map shifted) and, where "
        "networks of random weights were tried, better than all of them. Checks without a test are "
        "listed and not counted. All images together; select a badge for the numbers.",
        "ours, on the checks' papers; Adebayo et al. 2018, arXiv:1810.03292, for random weights",
    ),
    "map_similarity": Help(
        "SSIM of the Grad-CAM maps of one fake by two variants, mean over pairs of variants; 1 is "
        "the same map. The null is the same with the second map of another person's image: what "
        "any two maps have in common. Only what is above it is agreement about the image.",
        "Wang et al. 2004, doi:10.1109/TIP.2003.819861; the study's way: " + STUDY,
    ),
    "regions": Help(
        "Concentration is log2 of a region's share of the map's mass over its share of the image: "
        "0 is even, 1 twice as much as even. Its q asks if other groups of the same label differ. "
        "Change is that of a fake less that of its real frame, and its q asks if it is 0.",
        "ours; exchanges: Chung and Romano 2013, doi:10.1214/13-AOS1090",
    ),
    "sample_scores": Help(
        "The logit that each detector gives this image, among those that it gives the other test "
        "images of the dataset. Above 0, P(fake) is above 0.5. Strokes: other images, evenly "
        "thinned by rank.",
        "the scores behind the zero-shot matrix",
    ),
    "sample_units": Help(
        "Activation of a unit less the median of the dataset's real images, over 1.4826 × their "
        "median absolute deviation (the standard deviation where half of them share one value). "
        "It describes this image and is no test: of many units some are always far out.",
        "Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408, for the deviation",
    ),
    "sample_measured": Help(
        "Each measurement of this image less the median of the dataset's real images, over 1.4826 "
        "× their median absolute deviation. It describes one image; what holds for a dataset is on "
        "the page Artifacts.",
        "Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408, for the deviation",
    ),
    "sample_upload": Help(
        "The file is decoded in memory, and its pixels alone are kept, in this dashboard's cache "
        "folder on the machine that serves it, readable by its user only. They are removed by "
        "Remove, or when newer results need the room. Name and metadata of the file are not kept.",
        "ours",
    ),
    # Overview: what stands behind the numbers.
    "audit": Help(
        "Leaks between splits, duplicates, wrong labels, and how well the label can be told from "
        "what is no forgery, such as file size. An error makes results wrong; a warning may.",
        "ours; see `probe audit`",
    ),
    # Compare, and the matrix against a reference.
    "paired": Help(
        "The metric of the first detector less that of the second on the same images. The interval "
        "resamples whole identities (else videos), both detectors together, so that what is hard "
        "for both cancels. p inverts the interval; q is the false discovery rate over datasets.",
        "Davison and Hinkley 1997, Bootstrap Methods, ch. 5; Field and Welsh 2007, "
        "doi:10.1111/j.1467-9868.2007.00593.x; Benjamini and Hochberg 1995",
    ),
    "changed_images": Help(
        "Images ordered by the difference of P(fake), at most one frame a video. They were picked "
        "for their difference, so they show how the two differ where they do, not how often.",
        "ours",
    ),
    "same_units": Help(
        "Fine-tuning keeps a unit's place, so the same number is the same unit with other weights. "
        "The overlap of two lists is set beside that of random lists of the same sizes "
        "(hypergeometric); contributions are compared by rank.",
        "ours; rank correlation: Spearman 1904, doi:10.2307/1412159",
    ),
    "pair_features": Help(
        "Debiased linear CKA of the features of the same images, layer by layer; 1 is the same, "
        "about 0 nothing in common, whatever rotation and scale. Intervals: jackknife over people.",
        "Kornblith et al. 2019, arXiv:1905.00414; Nguyen et al. 2021, arXiv:2010.15327",
    ),
    "pair_layers": Help(
        "AUROC of a linear probe on each layer of both detectors, scored on people that it was not "
        "fitted on. Bars are of each probe by itself. Differences are of the same people, "
        "resampled for both together, and widened for probes that are not fitted again.",
        "Alain and Bengio 2016, arXiv:1610.01644; Nadeau and Bengio 2003, "
        "doi:10.1023/A:1024068626366; Schenker and Gentleman 2001, "
        "doi:10.1198/000313001317097960, where intervals are not paired",
    ),
    "pair_maps": Help(
        "Structural similarity of the heatmaps that two variants have of one image. The null "
        "compares maps of different images of other people, which are alike wherever maps are "
        "smooth or centered. Intervals resample people.",
        "Wang et al. 2004, doi:10.1109/TIP.2003.819861; " + STUDY,
    ),
    "made_of": Help(
        "What the two were made of. Whatever differs here may be the reason for a difference "
        "above; two trainings differ by their seed even where nothing else does.",
        "manifest, score table and provenance of the runs",
    ),
}

#: Measures of separability, as in the table of a layer.
MEASURE_HELP = {
    "probe_auroc": Help(
        "AUROC of a linear probe on other people than it was fitted on; 0.5 is chance.",
        "Alain and Bengio 2016, arXiv:1610.01644",
    ),
    "control_auroc": Help(
        "The same probe on random labels, drawn by person; it should be at 0.5.",
        "Hewitt and Liang 2019, arXiv:1909.03368",
    ),
    "selectivity": Help(
        "Probe less control task: what the layer knows beyond what the probe can memorise.",
        "Hewitt and Liang 2019, arXiv:1909.03368",
    ),
    "c2st_accuracy": Help(
        "Classifier two-sample test: accuracy on other people, both labels weighing the same; 0.5 "
        "is chance.",
        "Lopez-Paz and Oquab 2017, arXiv:1610.06545",
    ),
    "fisher": Help(
        "Fisher ratio: squared distance of the class means over the spread within classes, with "
        "the covariance shrunk; 0 is no difference.",
        "Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x; Ledoit and Wolf 2004",
    ),
    "dprime": Help(
        "d′: distance of the classes along the line through their means, in standard "
        "deviations; 0 is no difference.",
        "Green and Swets 1966, Signal Detection Theory and Psychophysics",
    ),
    "silhouette": Help(
        "Mean of (b − a) / max(a, b), with a the distance to the own label and b that to the "
        "other; from −1 to 1, 0 is no difference.",
        "Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7",
    ),
    "knn_purity": Help(
        "Share of a sample's nearest neighbors among other people that have its label; 0.5 is "
        "chance.",
        "Cover and Hart 1967, doi:10.1109/TIT.1967.1053964, for neighbors",
    ),
    "mmd2": Help(
        "Squared maximum mean discrepancy with a Gaussian kernel, unbiased, over pairs of "
        "different people; 0 is no difference, and it may be a little below.",
        "Gretton et al. 2012, JMLR 13:723",
    ),
}
